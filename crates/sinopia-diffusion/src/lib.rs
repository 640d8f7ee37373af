//! Schedulers, noise, guidance losses and the methods that paint with them.
//!
//! A [`Pipeline`] is a frozen checkpoint around a [`Denoiser`](sinopia_models::Denoiser). A [`Method`](methods::Method) paints a [`PaintRequest`] with it, tells a [`Run`] how it goes, and
//! answers with a [`Painting`], whose [`Recipe`] is enough to paint it again, bit for bit, on any number of threads.
//!
//! ```no_run
//! use sinopia_diffusion::noise::Seed;
//! use sinopia_diffusion::{CancellationToken, ImageSize, PaintRequest, Pipeline, Run, Sampling, Silent, methods};
//!
//! fn paint(pipeline: &Pipeline) -> sinopia_diffusion::Result<()> {
//!     let ImageSize { width, height } = pipeline.native_size();
//!     let sampling = Sampling { num_inference_steps: 25, ..Sampling::new(Seed(1), width, height) };
//!     let request = PaintRequest { caption: Some("a red dog".into()), layout: None, negative: None, init: None, sampling };
//!     let method = methods::build("sd", serde_json::Value::Null)?;
//!     let painting = method.generate(&request, pipeline, &Run::new(&Silent, &CancellationToken::default()))?;
//!     assert_eq!(painting.image.pixels().len(), 3 * width * height);
//!     Ok(())
//! }
//! ```
//!
//! Start reading at [`methods`]; everything a method does is a named function of another module: [`losses`] and [`guidance`] (where attention
//! should be), [`conditioning`] (what the denoiser attends to of a text), [`grounding`] (boxes for models that take them), [`masks`] and [`collage`] (objects cut out and put in place), [`pipeline`] (one denoising step), [`schedulers`] and [`noise`].

pub mod methods;

pub mod edit;
pub mod inversion;

pub mod conditioning;
pub mod grounding;
pub mod guidance;
pub mod losses;

mod attention_map;
mod beginning;
pub mod change;
pub mod collage;
pub mod image;
pub mod init;
pub mod masked;
pub mod masks;

pub mod noise;
pub mod pipeline;
pub mod schedulers;

mod checked;
mod error;
mod model_id;
pub mod observer;
pub mod painting;
pub mod parts;
mod preview;
mod prompts;
pub mod recipe;
pub mod settings;
pub mod trajectory;
pub mod window;
pub mod work;

pub use change::{ChangeMask, MaskFrame, Pasted, paste};
pub use checked::{CheckedRecord, TryRecord};
pub use conditioning::{TextEncoderKind, TextEncoding};
pub use edit::{Edit, EditOptions, EditSource, Edited, Operation, edit, edit_with};
pub use error::{Error, Result};
pub use image::{Image, ImageSize};
pub use init::{Init, PixelMask};
pub use masked::{FrozenObjects, MaskedPass, Removal, View};
pub use model_id::ModelId;
pub use observer::{AttentionReport, Observer, Run, Silent, Stage, StepReport, Timing};
pub use painting::{GuidanceReport, PaintRequest, PaintedObject, Painting, Prompts, Sampling, Shortcuts};
pub use pipeline::{Pipeline, PipelineParts};
pub use preview::LinearPreview;
pub use recipe::{EllaId, FileId, InitRecord, InvertedSource, Recipe};
pub use schedulers::first_call;
pub use settings::Setting;
pub use sinopia_models::CancellationToken;
pub use trajectory::Trajectory;
pub use work::DenoiserWork;
