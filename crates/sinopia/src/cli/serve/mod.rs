//! `sinopia serve`: the server, with this program's planning and painting behind it.

mod engine;
mod listen;
mod observer;
mod options;
mod rendering;
mod shelf;
mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
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

use super::args::{PaintingArgs, PlannerArgs, PrecisionArg, TextArgs, own_model, own_sam};
use super::eval::jobs::available_memory;
use super::failure::{Given, bad_request};
use super::planning::Planning;
use super::progress::Bars;
use super::{input, job, model, settings};
use engine::Painter;
use listen::Place;
use shelf::{Listed, Shelf};

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

impl ServeArgs {
    /// Our own words as we write them.
    pub(crate) fn make_plain(&mut self) {
        let ModelsArgs { model, sam, t5, ella, .. } = &mut self.models;
        for name in model.iter_mut().chain(t5).chain(ella) {
            *name = own_model(std::mem::take(name));
        }
        *sam = sam.take().map(own_sam);
    }
}

/// What paints, and how if a request does not say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Painting")]
struct ModelsArgs {
    /// Model that may be asked for, the default first: `miniature`, a folder, a file or a Hub id. Repeatable [default: miniature]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,

    /// What outlines the objects of `lmd` and `lmd-plus`: a SAM, `miniature` or `none` [default: none]
    #[arg(long, value_name = "SAM")]
    sam: Option<String>,

    /// ELLA's language model, for requests that name that text encoder [default: the miniature's]
    #[arg(long, value_name = "DIR", requires = "ella")]
    t5: Option<String>,

    /// ELLA's connector [default: the miniature's]
    #[arg(long, value_name = "FILE", requires = "t5")]
    ella: Option<String>,

    /// What looks at finished pictures: a folder of OWL-ViT weights, `miniature` or `none` [default: the built-in one, at the miniature's pictures]
    #[arg(long, value_name = "DIR")]
    detector: Option<String>,

    /// Method if a request does not say [default: lmd]
    #[arg(long, value_name = "NAME")]
    method: Option<String>,

    /// Denoising steps if a request does not say [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: Option<u32>,

    /// What the networks compute in [default: auto]
    #[arg(long, value_name = "KIND")]
    precision: Option<PrecisionArg>,

    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
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
    let painting = settings::merge(painting_args(&args))?;
    job::set_threads(&painting)?;
    check_defaults(&painting, args.models.detector.as_deref())?;
    let precision = painting.precision.unwrap_or(PrecisionArg::Auto);
    let names = match (args.models.model.is_empty(), &painting.model) {
        (false, _) => args.models.model.clone(),
        (true, Some(model)) => vec![model.clone()],
        (true, None) => vec![sinopia_miniature::NAME.to_owned()],
    };
    let models = names.iter().map(|name| Listed::new(name, precision, &bars)).collect::<anyhow::Result<Vec<_>>>()?;
    let planner = settings::merge_planner(args.planner.clone(), args.config.as_deref())?;
    let planning = Planning::new(planner, &bars)?;
    let budget = args.limits.memory_budget.map(|gigabytes| (gigabytes * 1e9) as u64);
    let budget = budget.or_else(|| available_memory().map(|bytes| bytes as u64));
    let workers = args.limits.jobs as usize;
    let heaviest = models.iter().map(|listed| listed.weight_bytes).max().unwrap_or(0);
    let options = options(&args, (address, token), budget.map(|budget| budget.saturating_sub(heaviest)));
    let painter = Painter {
        shelf: Shelf::new(budget, painting.sam.clone(), precision),
        defaults: painting,
        models,
        planning: Arc::new(planning),
        budget,
        detector: args.models.detector.clone(),
        threads_each: (workers > 1).then(|| (threads::num_threads() / workers).max(1)),
        eye: Mutex::default(),
    };
    start_log(args.log_format, args.log_level);
    let server = Server::start(Arc::new(painter), options)?;
    let address = server.address()?;
    bars.line(&format!("open http://{address} (Ctrl-C ends it)"));
    Ok(server.run(Stop::default())?)
}

/// Refuses now what every request would be refused for.
fn check_defaults(painting: &PaintingArgs, detector: Option<&str>) -> anyhow::Result<()> {
    if let Some(method) = &painting.method {
        methods::find(method)?;
    }
    job::scheduler(painting.scheduler.as_deref())?;
    painting.sam.as_deref().map_or(Ok(()), model::check_sam)?;
    let PaintingArgs { text: TextArgs { t5, ella, .. }, .. } = painting;
    let built_in = [sinopia_miniature::NAME, engine::NO_DETECTOR];
    let named = [
        ("--detector", detector.filter(|name| !built_in.contains(name))),
        ("--t5", t5.as_deref()),
        ("--ella", ella.as_deref()),
    ];
    match named.into_iter().find_map(|(flag, name)| Some((flag, name.filter(|name| !Path::new(name).exists())?))) {
        Some((flag, name)) => Err(bad_request(format!("`{flag} {name}`: there is no such folder or file"))),
        None => Ok(()),
    }
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

fn painting_args(args: &ServeArgs) -> PaintingArgs {
    let ModelsArgs { sam, t5, ella, method, steps, precision, threads, .. } = &args.models;
    PaintingArgs {
        model: args.models.model.first().cloned(),
        sam: sam.clone(),
        text: TextArgs { t5: t5.clone(), ella: ella.clone(), ..TextArgs::default() },
        method: method.clone(),
        steps: *steps,
        precision: *precision,
        threads: *threads,
        config: args.config.clone(),
        ..PaintingArgs::default()
    }
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
