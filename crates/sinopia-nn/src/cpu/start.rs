//! What the sums of a product start from: for the whole, and for a tile of it.

/// What the elements of a product (M, N) start from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Nothing.
    Zero,
    /// A bias (N).
    Bias(&'a [f32]),
    /// A matrix (M, N) and perhaps a bias (N).
    Base(&'a [f32], Option<&'a [f32]>),
}

impl<'a> Start<'a> {
    /// A base, a bias, both or neither.
    pub(crate) fn new(base: Option<&'a [f32]>, bias: Option<&'a [f32]>) -> Self {
        match (base, bias) {
            (Some(base), bias) => Self::Base(base, bias),
            (None, Some(bias)) => Self::Bias(bias),
            (None, None) => Self::Zero,
        }
    }

    /// Checks that a base has `elements` elements, and a bias `columns`.
    ///
    /// # Panics
    /// If they have not.
    pub(crate) fn check(self, elements: usize, columns: usize) {
        if let Self::Bias(bias) | Self::Base(_, Some(bias)) = self {
            assert_eq!(bias.len(), columns, "a bias for each column");
        }
        if let Self::Base(base, _) = self {
            assert_eq!(base.len(), elements, "a base of the result's shape");
        }
    }

    /// What a tile starts from whose first element is number `place` of the result and stands in column `column`.
    pub(crate) fn at(self, place: usize, column: usize) -> Begin {
        match self {
            Self::Zero => Begin::Zero,
            Self::Bias(bias) => Begin::Bias(bias[column..].as_ptr()),
            Self::Base(base, bias) => {
                Begin::Base(base[place..].as_ptr(), bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()))
            }
        }
    }
}

/// What the sums of a tile start from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// Nothing.
    Zero,
    /// A bias for each column of the tile; as many elements as there are columns in use.
    Bias(*const f32),
    /// Another matrix of the result's shape and strides, where it has this tile, and a bias unless that is null.
    Base(*const f32, *const f32),
    /// What the result holds already.
    Result,
}
