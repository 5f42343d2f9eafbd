//! The ONNX Runtime library: finding it, loading it once, and building sessions with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionInputs, SessionOutputs};

use super::manifest::REMEDY;
use crate::base::{Culprit, Error, Kind, Result, memory};
use crate::config::ModelsConfig;

/// The library's name where the system keeps libraries.
const LIBRARY: &str = "libonnxruntime.so";

/// ONNX Runtime, loaded. Cheap to clone; a process has one.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// The shapes of a model's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shapes {
    /// The same in every run.
    Fixed,
    /// Any, from run to run.
    Free,
}

/// A model that is ready to run. One run at a time. Its working memory stays with it from run to
/// run, which is the fastest, and holds what it saw last.
pub(super) struct Network {
    session: Session,
    giving_back: RunOptions<NoSelectedOutputs>,
}

impl Network {
    /// Runs the model.
    pub(super) fn run<'s, 'i, 'v: 'i, const N: usize>(
        &'s mut self,
        inputs: impl Into<SessionInputs<'i, 'v, N>>,
    ) -> ort::Result<SessionOutputs<'s>> {
        self.session.run(inputs)
    }

    /// Runs the model, then gives its working memory back ([`memory::return_freed`]). What is kept
    /// for many shapes breaks into pieces that fit none of them, and grows.
    pub(super) fn run_and_give_back<'s, 'i, 'v: 'i, const N: usize>(
        &'s mut self,
        inputs: impl Into<SessionInputs<'i, 'v, N>>,
    ) -> ort::Result<SessionOutputs<'s>> {
        self.session.run_with_options(inputs, &self.giving_back)
    }

    /// What it takes and gives.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// The library stays loaded until the process ends: loading is done once, whoever asks.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library that the configuration names, or the one beside the models, or the
    /// system's. A second call gives what the first one loaded.
    pub fn load(config: &ModelsConfig) -> Result<Self> {
        // Held while the library loads, so that two engines opened at once share one environment.
        let mut loaded = LOADED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(runtime) = loaded.as_ref() {
            return Ok(runtime.clone());
        }
        memory::return_freed();
        let library = locate(config);
        let environment = open(&library).map_err(|e| e.context("ONNX Runtime"))?;
        let runtime = Self { environment, library };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library in use.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// ONNX Runtime's one environment, for who measures sessions without this room around them.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// A session over a model's bytes: `threads` threads that sleep when there is nothing to do,
    /// and the named free dimensions fixed.
    pub(super) fn session(
        &self,
        bytes: &[u8],
        threads: u16,
        dimensions: &[(&str, i64)],
        shapes: Shapes,
    ) -> Result<Network> {
        let failed = |e: &dyn std::fmt::Display| {
            let text = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Error::new(Kind::Mismatch, Culprit::Model, format!("ONNX Runtime cannot run it: {text}"))
                .remedy(REMEDY)
        };
        let builder = Session::builder(&self.environment).map_err(|e| failed(&e))?;
        let mut builder = options(builder, threads, dimensions, shapes).map_err(|e| failed(&e))?;
        let session = builder.commit_from_memory(bytes).map_err(|e| failed(&e))?;
        let mut giving_back = RunOptions::new().map_err(|e| failed(&e))?;
        giving_back.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(|e| failed(&e))?;
        Ok(Network { session, giving_back })
    }
}

fn options(
    builder: SessionBuilder,
    threads: u16,
    dimensions: &[(&str, i64)],
    shapes: Shapes,
) -> ort::Result<SessionBuilder> {
    let mut builder = builder
        .with_intra_threads(usize::from(threads.max(1)))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_log_level(ort::logging::LogLevel::Error)?
        .with_optimization_level(GraphOptimizationLevel::All)?;
    if shapes == Shapes::Free {
        // A plan of the memory would be kept for every shape.
        builder = builder.with_memory_pattern(false)?;
    }
    for (name, size) in dimensions {
        builder = builder.with_dimension_override(name, *size)?;
    }
    Ok(builder)
}

fn locate(config: &ModelsConfig) -> PathBuf {
    if let Some(path) = &config.runtime {
        return path.clone();
    }
    let fetched = |dir: &Path| dir.join("fetched").join(LIBRARY);
    // Another set of models lies within the directory of those that are used.
    let beside = [fetched(&config.dir), config.dir.join(LIBRARY), fetched(&config.dir.join(".."))];
    beside.into_iter().find(|p| p.exists()).unwrap_or_else(|| PathBuf::from(LIBRARY))
}

fn open(library: &Path) -> Result<Environment> {
    use ort::LoadDynamicError as Load;
    const REPLACE: &str =
        "run models/setup.sh, or point `models.runtime` at a library of at least version 1.24";
    // A relative path would be looked up beside the program first.
    let path = match library.canonicalize() {
        Ok(path) => path,
        Err(e) if library.components().count() > 1 => {
            return Err(
                Error::io(Culprit::Host, format!("{} cannot be read", library.display()), e).remedy(REPLACE)
            );
        }
        Err(_) => library.to_owned(),
    };
    let builder = ort::init_from(&path).map_err(|e| match &e {
        Load::Dlopen { .. } => Error::new(
            Kind::NotFound,
            Culprit::Host,
            format!("{} is not there or is no library for this machine", library.display()),
        )
        .with_source(e)
        .remedy(REPLACE),
        Load::BadVersion { version_str, .. } => Error::new(
            Kind::Mismatch,
            Culprit::Host,
            format!("{} is version {version_str}, which is too old", library.display()),
        )
        .remedy(REPLACE),
        Load::MissingApi { .. } | Load::InvalidVersionString => {
            Error::new(Kind::Mismatch, Culprit::Host, format!("{} is another library", library.display()))
                .remedy(REPLACE)
        }
    })?;
    builder.with_name("vigil").with_telemetry(false).build().map_err(|e| {
        Error::new(Kind::Unavailable, Culprit::Host, "the library does not start")
            .with_source(e)
            .remedy(REPLACE)
    })
}
