//! Settings from several sources: whoever is asked first and says something decides.

/// Declares settings, of which each may be left open, and `over`, which takes what is left open from others. What stands `beside` is not combined.
macro_rules! combined {
    (
        $(#[$of_struct:meta])*
        pub struct $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }
        beside { $($(#[$of_other:meta])* $other:ident: $other_kind:ty,)* }
    ) => {
        $(#[$of_struct])*
        pub struct $name {
            $($(#[$of_field])* pub $field: $kind,)*
            $($(#[$of_other])* pub $other: $other_kind,)*
        }

        impl $name {
            /// These settings, and where they say nothing those of `base`.
            fn over(self, base: Self) -> Self {
                Self { $($field: self.$field.or(base.$field),)* $($other: self.$other,)* }
            }
        }
    };
}

pub(crate) use combined;
