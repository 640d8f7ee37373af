//! What can be typed behind `sinopia edit`.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use sinopia_studio::CheckSettings;
use sinopia_studio::editing::{Change, Place};

use crate::cli::args::{PaintingArgs, PlannerArgs};
use crate::cli::flags::{Selected, Selection};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia edit dog.png --move \"the dog\" left --out left.png
  sinopia edit dog.png --remove \"the umbrella\" --add \"a white bowl\" --out bowl.png
  sinopia edit dog.png --recolour \"the dog\" \"a green dog\" --replace \"the umbrella\" \"a kite\"
  sinopia edit photo.jpg --caption \"a kitchen table\" --add \"a red apple\" 300,400,90,90 --model owner/name
  sinopia edit dog.png --layout new-layout.json
  sinopia edit dog.png --instruction \"swap the dog and the umbrella\" --llm-base-url ollama --llm-model qwen3:8b

An object is named by its words or some of them; of several alike, \"the left apple\", \"apple #2\" or \"apple@X,Y,W,H\" says which. Boxes are X,Y,W,H in
pixels of the layout's canvas, as `sinopia inspect` shows them (of the picture itself, if it has no layout), or shares up to 1.")]
pub(crate) struct EditArgs {
    /// Picture to change: one made by Sinopia, whose painting is repeated, or any PNG, JPEG or WebP, which is inverted; `-` reads it from stdin
    pub(crate) image: PathBuf,

    #[command(flatten)]
    pub(crate) changes: ChangeArgs,

    /// Layout that the picture is to have: what differs from its own is changed; `-` reads it from stdin
    #[arg(long, value_name = "FILE", help_heading = "Changes")]
    pub(crate) layout: Option<PathBuf>,

    /// Picture that `sinopia edit` made of IMAGE, which was not painted here: the same is done to it again
    #[arg(long, value_name = "EDITED", help_heading = "Changes", conflicts_with = "layout")]
    pub(crate) from: Option<PathBuf>,

    /// A change in a sentence, which a language model understands (`--llm-model`): it changes the layout of a picture made by Sinopia
    #[arg(long, value_name = "TEXT", help_heading = "Changes", conflicts_with_all = ["layout", "from"])]
    pub(crate) instruction: Option<String>,

    /// Have the detector look at the result, and repair what is not as the changed layout has it
    #[arg(long, help_heading = "Changes")]
    pub(crate) until_right: bool,

    /// How much of its steps is taken again of what is recoloured (above 0, at most 1) [default: 0.9]
    #[arg(long, value_name = "SHARE", help_heading = "Changes", allow_negative_numbers = true)]
    pub(crate) strength: Option<f64>,

    /// What the picture shows, in words [default: what its file says]
    #[arg(long, value_name = "TEXT", help_heading = "Prompts")]
    pub(crate) caption: Option<String>,

    #[command(flatten)]
    pub(crate) detector: Selected<CheckSettings, DetectorAlone>,

    #[command(flatten)]
    pub(crate) planner: PlannerArgs,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    #[command(flatten)]
    pub(crate) output: EditOutput,
}

/// Where the result goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct EditOutput {
    /// Picture to write (PNG); `-` writes it to stdout
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "edited.png")]
    pub(crate) out: PathBuf,

    /// Write over IMAGE itself
    #[arg(long, conflicts_with = "out")]
    pub(crate) in_place: bool,

    /// Show the picture in the terminal (Kitty, iTerm, Sixel, or coloured blocks)
    #[arg(long, conflicts_with = "json")]
    pub(crate) preview: bool,

    /// Print what was done as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Of the settings of checking, who looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DetectorAlone;

impl Selection for DetectorAlone {
    fn selects(name: &str) -> bool {
        name == "detector"
    }
}

/// The changes, in the order in which they were typed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeArgs(pub(crate) Vec<Change>);

/// A flag that asks for a change, and takes one value or two.
struct ChangeFlag {
    name: &'static str,
    alias: Option<&'static str>,
    values: &'static [&'static str],
    /// How many of the values must be there.
    required: usize,
    help: &'static str,
}

const FLAGS: &[ChangeFlag] = &[
    ChangeFlag {
        name: "move",
        alias: None,
        values: &["OBJECT", "WHERE"],
        required: 2,
        help: "Put an object elsewhere: left, right, up, down (by its own size) or into a box X,Y,W,H. Repeatable, as all of these",
    },
    ChangeFlag {
        name: "remove",
        alias: Some("delete"),
        values: &["OBJECT"],
        required: 1,
        help: "Take an object out; what was behind it is painted",
    },
    ChangeFlag {
        name: "add",
        alias: None,
        values: &["PHRASE", "BOX"],
        required: 1,
        help: "Paint something new in a box X,Y,W,H; without one a free place is found and told",
    },
    ChangeFlag {
        name: "replace",
        alias: None,
        values: &["OBJECT", "PHRASE"],
        required: 2,
        help: "Put something else in an object's place",
    },
    ChangeFlag {
        name: "recolour",
        alias: Some("recolor"),
        values: &["OBJECT", "PHRASE"],
        required: 2,
        help: "Give an object another colour or material, its shape kept: \"the dog\" \"a green dog\"",
    },
    ChangeFlag {
        name: "resize",
        alias: None,
        values: &["OBJECT", "SIZE"],
        required: 2,
        help: "Make an object larger or smaller, or as large as a box X,Y,W,H",
    },
];

impl ChangeFlag {
    fn arg(&self) -> Arg {
        Arg::new(self.name)
            .long(self.name)
            .aliases(self.alias)
            .value_names(self.values)
            .num_args(self.required..=self.values.len())
            .action(ArgAction::Append)
            .help_heading("Changes")
            .help(self.help)
    }

    /// Its occurrences, each with the place of its first value on the command line.
    fn given(&self, matches: &ArgMatches) -> Vec<(usize, Vec<String>)> {
        let Some(occurrences) = matches.get_occurrences::<String>(self.name) else { return Vec::new() };
        let mut places = matches.indices_of(self.name).into_iter().flatten();
        let with_place = |values: Vec<String>| {
            let place = places.by_ref().take(values.len()).last();
            (place.unwrap_or_default(), values)
        };
        occurrences.map(|values| values.cloned().collect()).map(with_place).collect()
    }

    fn change(&self, values: Vec<String>) -> Result<Change, clap::Error> {
        let mut values = values.into_iter();
        let (first, second) = (values.next().unwrap_or_default(), values.next());
        if let ("add", Some(place)) = (self.name, &second)
            && Place::parse(place).is_none()
        {
            let message = format!(
                "invalid value '{place}' for '--add <PHRASE> [BOX]': a box X,Y,W,H is expected; the picture that is changed stands before the flags\n"
            );
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message));
        }
        let other = second.clone().unwrap_or_default();
        Ok(match self.name {
            "move" => Change::Move { object: first, to: other },
            "remove" => Change::Remove { object: first },
            "resize" => Change::Resize { object: first, to: other },
            "recolour" => Change::Recolour { object: first, phrase: other },
            "replace" => Change::Replace { object: first, phrase: other },
            _ => Change::Add { phrase: first, place: second },
        })
    }
}

impl Args for ChangeArgs {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| command.arg(flag.arg()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ChangeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut changes = Vec::new();
        for flag in FLAGS {
            for (place, values) in flag.given(matches) {
                changes.push((place, flag.change(values)?));
            }
        }
        changes.sort_by_key(|(place, _)| *place);
        Ok(Self(changes.into_iter().map(|(_, change)| change).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command as Typed};

    fn typed(args: &[&str]) -> Result<EditArgs, String> {
        let cli = Cli::try_parse_from([&["sinopia", "edit"], args].concat()).map_err(|error| error.to_string())?;
        match cli.command {
            Typed::Edit(args) => Ok(*args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn changes_are_read_in_the_order_they_are_typed() {
        let args = typed(&[
            "dog.png",
            "--add",
            "a hat",
            "--move",
            "the dog",
            "left",
            "--remove",
            "the bowl",
            "--add",
            "a cup",
            "1,2,3,4",
            "--recolor",
            "the cat",
            "a red cat",
            "--move",
            "cat",
            "10,10,20,20",
            "--seed",
            "3",
        ])
        .unwrap();
        let expected = [
            Change::Add { phrase: "a hat".into(), place: None },
            Change::Move { object: "the dog".into(), to: "left".into() },
            Change::Remove { object: "the bowl".into() },
            Change::Add { phrase: "a cup".into(), place: Some("1,2,3,4".into()) },
            Change::Recolour { object: "the cat".into(), phrase: "a red cat".into() },
            Change::Move { object: "cat".into(), to: "10,10,20,20".into() },
        ];
        assert_eq!(args.changes.0, expected);
        assert_eq!(args.painting.painting().unwrap().settings.seed, Some(3));
    }

    #[test]
    fn slips_on_the_command_line_say_what_is_expected() {
        for (args, words) in [
            (&["a.png", "--move", "dog"][..], "2 values required"),
            (&["a.png", "--add", "a hat", "here"], "stands before the flags"),
            (&["--remove", "dog"], "<IMAGE>"),
            (&["a.png", "--out", "b.png", "--in-place"], "cannot be used with"),
            (&["a.png", "--layout", "b.json", "--from", "c.png"], "cannot be used with"),
            (&["a.png", "--strength", "much"], "invalid value 'much'"),
        ] {
            let error = typed(args).unwrap_err();
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
