//! Who paints: this machine, or another.

use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, Observer};
use sinopia_layout::Layout;

use crate::PaintSpec;

/// Whoever makes a picture of a spec: [`Studio`](crate::Studio) on this machine, a server elsewhere.
pub trait Painter {
    /// What goes wrong.
    type Error;
    /// What else is known of a picture.
    type Details;

    /// Paints one picture. A layout that is missing is planned, if the spec says so.
    ///
    /// # Errors
    /// When the spec cannot be painted, something fails, or the work is cancelled.
    fn paint(
        &self,
        spec: &PaintSpec,
        observer: &dyn Observer,
        cancellation: &CancellationToken,
    ) -> Result<Painted<Self::Details>, Self::Error>;
}

/// What a painter brings back.
#[derive(Debug, Clone)]
pub struct Painted<D> {
    /// The picture's file, its recipe in it.
    pub png: Vec<u8>,
    /// Where its noise started.
    pub seed: Seed,
    /// What it was painted from.
    pub layout: Option<Layout>,
    /// What whoever asked should know, in words.
    pub warnings: Vec<String>,
    /// What else the painter knows of it: how it came about.
    pub details: D,
}
