//! `sinopia serve`: the server, with this program's planning and painting behind it.

mod editing;
mod engine;
mod listen;
mod observer;
mod options;
mod painting;
mod refusal;
mod rendering;
mod request;
mod taking_in;
mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use sinopia_diffusion::methods;
use sinopia_layout::limits::TOKEN_BYTES;
use sinopia_nn::threads;
use sinopia_server::queue::QueueOptions;
use sinopia_server::wire::Limits;
use sinopia_server::{Server, ServerOptions, Stop, Token};

use sinopia_studio::models::memory::available_bytes;
use sinopia_studio::models::names::is_same_model;
use sinopia_studio::models::{ModelCache, ModelInfo, check_file};
use sinopia_studio::{AUTO, Compute, DEFAULT_METHOD, DEFAULT_MODEL, Error, MachineSettings, PaintSettings};

use super::args::{Painting, PlannerArgs, own_model, with_own_words};
use super::failure::{Given, bad_request};
use super::flags::{Flags, Selected, Selection};
use super::planning::Audience;
use super::progress::Bars;
use super::{input, models, planning, settings};
use engine::StudioEngine;
use listen::Place;
pub(crate) use options::NOT_REQUESTED;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia serve                                                    # then open http://127.0.0.1:7878
  sinopia serve --model ./stable-diffusion-v1-5 --model miniature  # the first is the default
  openssl rand -hex 16 > token && sinopia serve --listen 0.0.0.0:7878 --token-file token
Put it behind a proxy that speaks TLS before others reach it over a network: the token is sent as it is.")]
pub(crate) struct ServeArgs {
    /// Address to listen on, or a host's name, or a port alone; others than this machine's own need a token
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7878")]
    listen: Place,

    /// File with the token that clients have to show (16 characters or more) [default: SINOPIA_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Other origin whose pages may call the server, such as `https://paint.example`. Repeatable
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,

    /// Proxy whose `X-Forwarded-Host` and `X-Forwarded-Proto` say what the server is called, an address or a network such as `10.0.0.0/8`. Repeatable [default: nobody's]
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    trusted_proxy: Vec<IpNet>,

    /// Folder of jobs and their pictures [default: sinopia/server in the user's data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Set a damaged record of jobs aside, and make jobs of the pictures that no job names, the newest first and no more than `--keep` leaves alone
    #[arg(long)]
    recover: bool,

    #[command(flatten)]
    models: ModelsArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    planner: PlannerArgs,

    /// How the log is written on stderr
    #[arg(long, value_name = "KIND", default_value = "text", help_heading = "Log")]
    log_format: LogFormat,

    /// How much is logged: `debug` has a line for every request
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Log")]
    log_level: tracing::Level,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What paints, and how if a request does not say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Painting")]
struct ModelsArgs {
    /// Model that may be asked for, the default first: `miniature`, a folder, a file or a Hub id. Repeatable [default: miniature]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,

    /// What looks at finished pictures: a folder of OWL-ViT weights, `miniature` or `none` [default: the built-in one, at the miniature's pictures]
    #[arg(long, value_name = "DIR")]
    detector: Option<String>,

    /// What is done if a request does not say.
    #[command(flatten)]
    defaults: Selected<PaintSettings, DefaultSettings>,

    #[command(flatten)]
    machine: Flags<MachineSettings>,
}

/// Settings of pictures that the server's start decides: places of models, and what holds where a request says nothing.
#[derive(Debug, Clone, Copy, Default)]
struct DefaultSettings;

impl Selection for DefaultSettings {
    fn selects(name: &str) -> bool {
        ["method", "steps", "sam", "t5", "ella", "precision", "device"].contains(&name)
    }
}

/// How much is taken on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Jobs painted at once; they share the threads (1 to 64)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,

    /// Jobs that may wait; further ones are refused
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_queued: u32,

    /// Jobs that have ended and are kept, with their pictures; the oldest ones beyond that are deleted (at least 100, so that whoever waits gets them)
    #[arg(long, value_name = "N", default_value_t = QueueOptions::default().keep as u32, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    keep: u32,

    /// Memory for models and paintings in GB: models that are not used go, and jobs that would not fit are refused [default: what the system has to give]
    #[arg(long, value_name = "GB", value_parser = gigabytes)]
    memory_budget: Option<f64>,

    /// The longest that a painting may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    job_timeout: u64,

    /// Most boxes of a layout that is painted
    #[arg(long, value_name = "N", default_value_t = Limits::default().boxes as u32, value_parser = clap::value_parser!(u32).range(1..=200))]
    max_boxes: u32,

    /// Most pixels of a picture
    #[arg(long, value_name = "N", default_value_t = Limits::default().pixels, value_parser = clap::value_parser!(u64).range(64..=16_777_216))]
    max_pixels: u64,

    /// Most denoising steps
    #[arg(long, value_name = "N", default_value_t = Limits::default().steps, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_steps: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let token = token(&args)?;
    let address = args.listen.resolve()?;
    check_origins(&args.cors_origin)?;
    let bars = Bars::new(false);
    let names = distinct(args.models.model.iter().cloned().map(own_model));
    let painting = settings::merge(typed(&args, names.first()))?;
    painting.machine.apply()?;
    let defaults = painting.settings;
    check_defaults(&defaults, args.models.detector.as_deref())?;
    let compute =
        Compute { device: defaults.device.unwrap_or_default(), precision: defaults.precision.unwrap_or_default() };
    let names = match (names.is_empty(), &defaults.model) {
        (false, _) => names,
        (true, Some(model)) => vec![model.clone()],
        (true, None) => vec![DEFAULT_MODEL.to_owned()],
    };
    let info = |name: &String| {
        let opened = models::open(name, compute, &bars)?;
        bars.finish();
        anyhow::Ok(ModelInfo::new(&opened, compute))
    };
    let models = names.iter().map(info).collect::<anyhow::Result<Vec<_>>>()?;
    check_against(&defaults, &models, &args.limits)?;
    let choice = settings::merge_planner(args.planner.clone(), args.config.as_deref())?;
    let is_canvas_named = choice.settings.canvas.is_some();
    // What has one canvas for all has that of the default model's pictures.
    let (width, height) = models.first().map_or((512, 512), |model| model.native_size);
    let choice = choice.shaped_like(width, height);
    let planner = planning::open(&choice, &bars)?;
    planning::tell_of_local_servers(&choice, Audience::Operator, &bars);
    let budget = args.limits.memory_budget.map(|gigabytes| (gigabytes * 1e9) as u64);
    let budget = budget.or_else(|| available_bytes().map(|bytes| bytes as u64));
    let workers = args.limits.jobs as usize;
    let heaviest = models.iter().map(|info| info.weight_bytes).max().unwrap_or(0);
    let options = options(&args, (address, token), budget.map(|budget| budget.saturating_sub(heaviest)));
    let engine = StudioEngine {
        cache: ModelCache::new(budget),
        defaults,
        models,
        planner: Arc::from(planner),
        is_canvas_named,
        budget,
        detector: args.models.detector.clone(),
        job_seconds: Some(args.limits.job_timeout as f64),
        threads_each: (workers > 1).then(|| (threads::num_threads() / workers).max(1)),
        opened_detector: Mutex::default(),
    };
    start_log(args.log_format, args.log_level);
    let server = Server::start(Arc::new(engine), options)?;
    let address = server.address()?;
    bars.line(&format!("open http://{address} (Ctrl-C ends it)"));
    Ok(server.run(Stop::default())?)
}

/// Refuses now what every request would be refused for.
fn check_defaults(defaults: &PaintSettings, detector: Option<&str>) -> anyhow::Result<()> {
    if defaults.t5.is_some() != defaults.ella.is_some() {
        return Err(Error::EllaHalf.into());
    }
    if let Some(name) = detector.filter(|name| ![sinopia_miniature::NAME, painting::NO_DETECTOR].contains(name)) {
        check_file("detector", name)?;
    }
    Ok(defaults.check()?)
}

/// Refuses defaults that the default model or the server's own limits do not allow.
fn check_against(defaults: &PaintSettings, models: &[ModelInfo], limits: &LimitArgs) -> anyhow::Result<()> {
    if let Some(steps) = defaults.steps.filter(|steps| *steps > limits.max_steps) {
        return Err(bad_request(format!("`steps` is {steps}, and `--max-steps` allows {}", limits.max_steps)));
    }
    let named = defaults.method.as_deref().filter(|method| !method.eq_ignore_ascii_case(AUTO));
    let method = methods::find(named.unwrap_or(DEFAULT_METHOD))?;
    match models.first().filter(|model| method.needs_adapters && !model.has_grounding_adapters) {
        Some(_) => Err(sinopia_diffusion::Error::NoAdapters { method: method.name }.into()),
        None => Ok(()),
    }
}

/// Names of models, each of which is named once: two spellings of a path are one model.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.iter().any(|known| is_same_model(known, &name)) {
            distinct.push(name);
        }
    }
    distinct
}

/// The token of the file that is named, or of the environment.
fn token(args: &ServeArgs) -> anyhow::Result<Option<Token>> {
    let text = match &args.token_file {
        Some(path) => {
            let text = input::text(path, TOKEN_BYTES);
            Some(text.given(|| format!("cannot read the token file `{}`", path.display()))?)
        }
        None => settings::server_token(),
    };
    let token = text.as_deref().map(Token::new).transpose();
    token.given(|| "the token cannot be used".to_owned())
}

/// Refuses what no browser sends as an origin.
fn check_origins(origins: &[String]) -> anyhow::Result<()> {
    let is_origin = |origin: &String| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'*')
        })
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        None => Ok(()),
        Some(origin) => Err(bad_request(format!(
            "`--cors-origin {origin}`: an origin is expected, scheme and host without a path, such as `https://paint.example`"
        ))),
    }
}

/// What was typed, with the default model.
fn typed(args: &ServeArgs, model: Option<&String>) -> Painting {
    let settings = PaintSettings { model: model.cloned(), ..args.models.defaults.settings().clone() };
    let (machine, config) = (args.models.machine.0.clone(), args.config.clone());
    Painting { settings: with_own_words(settings), machine, config, ..Painting::default() }
}

fn options(
    args: &ServeArgs,
    (address, token): (SocketAddr, Option<Token>),
    memory_budget: Option<u64>,
) -> ServerOptions {
    let limits = &args.limits;
    let data = args.data.clone().unwrap_or_else(|| settings::user_data_folder().join("server"));
    ServerOptions {
        address,
        token,
        origins: args.cors_origin.clone(),
        trusted_proxies: args.trusted_proxy.clone(),
        recover: args.recover,
        queue: QueueOptions {
            max_queued: limits.max_queued as usize,
            workers: limits.jobs as usize,
            memory_budget,
            job_timeout: Duration::from_secs(limits.job_timeout),
            keep: limits.keep as usize,
        },
        limits: Limits {
            boxes: limits.max_boxes as usize,
            pixels: limits.max_pixels,
            steps: limits.max_steps,
            ..Limits::default()
        },
        plans_at_once: threads::num_threads().max(2),
        ..ServerOptions::new(data)
    }
}

/// Structured lines on stderr.
fn start_log(format: LogFormat, level: tracing::Level) {
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // A log that nobody reads any more ends nothing; told of on the same stderr, it would.
    let log = log.log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    let network = address.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc()));
    network.map_err(|_| "an address such as 127.0.0.1, or a network such as 10.0.0.0/8, is expected".to_owned())
}

fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=100_000.0).contains(&value) => Ok(value),
        _ => Err("a number of gigabytes is expected".to_owned()),
    }
}
