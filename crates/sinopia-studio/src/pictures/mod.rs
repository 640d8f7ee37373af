//! How a picture was made, as its PNG file says: our recipe, or what other programs write.
//!
//! Start reading at [`read`]. Nothing is decoded there but the texts, each up to [`limits::TEXT_CHUNK_BYTES`](sinopia_layout::limits::TEXT_CHUNK_BYTES);
//! the pixels of pictures that others made are read by [`decode`].
//!
//! ```
//! use sinopia_studio::pictures::{Origin, Error, read};
//!
//! assert!(matches!(read(b"\xff\xd8\xff\xe0"), Err(Error::NotPng { kind: Some("JPEG") })));
//! # let mut png = Vec::new();
//! # let mut encoder = png::Encoder::new(&mut png, 1, 1);
//! # encoder.add_text_chunk("parameters".into(), "a red car\nSteps: 20, Seed: 7, Size: 512x512".into())?;
//! # encoder.write_header()?.write_image_data(&[0])?;
//! match read(&png)? {
//!     Origin::Sinopia { recipe } => println!("{recipe}"),
//!     Origin::Foreign(made) => assert_eq!((made.prompt.as_deref(), made.seed), (Some("a red car"), Some(7))),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod chunks;
mod decode;
mod foreign;
mod weights;

use sinopia_diffusion::Recipe;
use sinopia_layout::limits::TEXT_CHUNK_BYTES;

pub use decode::{DecodeError, decode};
pub use foreign::Foreign;

/// What a picture's file says about how it was made.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// It was made here.
    Sinopia {
        /// The recipe as JSON.
        recipe: String,
    },
    /// Another program made it.
    Foreign(Box<Foreign>),
}

/// Why a file does not say how it was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is another kind of file.
    #[error("{}", not_png(*kind))]
    NotPng {
        /// The kind of picture that it is, if it is one.
        kind: Option<&'static str>,
    },
    /// It is not whole, or not what it says it is.
    #[error("the PNG image is damaged: {problem}")]
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
    /// More text than is read.
    #[error("the text chunk `{keyword}` holds more than {limit} bytes; no program writes that much about a picture", limit = TEXT_CHUNK_BYTES)]
    TooLong {
        /// Its keyword.
        keyword: String,
    },
    /// No program that we know wrote into it.
    #[error(
        "this PNG says nothing about how it was made: it was not made by Sinopia or another program that writes that, or a program that edited it dropped the text"
    )]
    Silent,
}

fn not_png(kind: Option<&str>) -> String {
    match kind {
        Some(kind) => {
            format!("this is a {kind} picture, not a PNG image; how a picture was made is read from PNGs only")
        }
        None => "this is not a PNG image".to_owned(),
    }
}

/// How the picture in a PNG file's bytes was made.
///
/// # Errors
/// [`Error::NotPng`], [`Error::Damaged`], [`Error::TooLong`], [`Error::Silent`].
pub fn read(bytes: &[u8]) -> Result<Origin, Error> {
    let png = chunks::PngTexts::read(bytes)?;
    if let Some(recipe) = png.text(Recipe::KEYWORD)? {
        return Ok(Origin::Sinopia { recipe });
    }
    match foreign::read(&png)? {
        Some(made) => Ok(Origin::Foreign(Box::new(made))),
        None => Err(Error::Silent),
    }
}
