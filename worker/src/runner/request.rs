use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use windlass_proto::common::v1::{CallOverride, MetricPick, OutputSpec};

use crate::record;

/// Where runner and worker leave things for each other; all in one directory of the attempt.
#[derive(Clone, Debug)]
pub struct StepFiles {
    pub request: PathBuf,
    pub outputs: PathBuf,
    pub metrics: PathBuf,
    pub calls: PathBuf,
    pub failure: PathBuf,
    /// Small outputs, all in one file that is written over and begins with its own path: a new file
    /// costs more than its bytes.
    pub results: PathBuf,
}

impl StepFiles {
    /// The names below `io`. Nothing is made; `outputs` must be there before the step starts.
    pub fn new(io: &Path) -> Self {
        Self {
            request: io.join("request"),
            outputs: io.join("outputs"),
            metrics: io.join("metrics"),
            calls: io.join("calls"),
            failure: io.join("failure"),
            results: io.join("results"),
        }
    }
}

/// Value of an argument: JSON text, or a file in some codec.
#[derive(Clone, Copy, Debug)]
pub enum ArgValue<'a> {
    Json(&'a str),
    /// The text of that environment variable.
    Variable(&'a str),
    /// `json`, `pickle` and `parquet` are decoded; of any other codec the function gets the path.
    File {
        codec: &'a str,
        path: &'a Path,
    },
}

/// What a step shall do.
#[derive(Debug)]
pub struct StepRequest<'a> {
    /// `module:function` or `path/file.py:function`.
    pub target: &'a str,
    /// The working directory of the step.
    pub project: &'a Path,
    pub args: &'a [(&'a str, ArgValue<'a>)],
    /// Empty: the returned value as `result`.
    pub outputs: &'a [OutputSpec],
    /// `None`: the numbers at the top of a returned mapping.
    pub metrics: Option<&'a [MetricPick]>,
    pub overrides: &'a [CallOverride],
}

/// Writes `request` to `files.request`. A NUL in any text is an error.
pub fn write_request(files: &StepFiles, request: &StepRequest<'_>) -> io::Result<()> {
    let mut out = Fields::default();
    out.text(request.target)?;
    out.bytes(request.project.as_os_str().as_bytes())?;
    let StepFiles { request: _, outputs, metrics, calls, failure, results } = files;
    for path in [outputs, metrics, calls, failure, results] {
        out.bytes(path.as_os_str().as_bytes())?;
    }
    out.count(request.args.len())?;
    for (name, value) in request.args {
        out.text(name)?;
        match value {
            ArgValue::Json(text) => {
                out.text("")?;
                out.text(text)?;
            }
            ArgValue::Variable(name) => {
                out.text("env")?;
                out.text(name)?;
            }
            ArgValue::File { codec, path } => {
                out.text(if codec.is_empty() { "file" } else { codec })?;
                out.bytes(path.as_os_str().as_bytes())?;
            }
        }
    }
    out.count(request.outputs.len())?;
    for output in request.outputs {
        [&output.name, &output.pick, &output.codec].into_iter().try_for_each(|t| out.text(t))?;
    }
    out.text(if request.metrics.is_some() { "1" } else { "0" })?;
    let metrics = request.metrics.unwrap_or_default();
    out.count(metrics.len())?;
    for metric in metrics {
        [&metric.name, &metric.pick].into_iter().try_for_each(|t| out.text(t))?;
    }
    out.count(request.overrides.len())?;
    for set in request.overrides {
        let texts = [&set.module, &set.function, &set.arg, &set.json];
        texts.into_iter().try_for_each(|t| out.text(t))?;
    }
    record::write(&files.request, &out.0)
}

/// Texts that each end with NUL: the runner reads them without loading a parser.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.contains(&0) {
            let shown = String::from_utf8_lossy(bytes).into_owned();
            let message = format!("a NUL character in {shown:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.0.extend_from_slice(bytes);
        self.0.push(0);
        Ok(())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        self.text(&count.to_string())
    }
}
