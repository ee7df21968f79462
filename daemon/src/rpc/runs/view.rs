//! One run with everything that is recorded of it.

use std::collections::HashMap;

use prost::Message;
use rusqlite::Connection;
use tonic::Status;
use windlass_blobs::Store;
use windlass_core::Digest;
use windlass_proto::api::v1::Run;
use windlass_proto::common::v1::{Environment, Output, Plan, bound_arg::Value};

use crate::{
    rpc::find,
    store::{
        StoreError,
        details::{self, Depth, StepReader},
        names, steps,
    },
};

/// Most steps shown with a run.
const MAX_STEPS: u32 = 100_000;

/// Bytes of environments in one answer; attempts beyond that carry the digest alone.
const MAX_ENVIRONMENT_BYTES: usize = 2 << 20;

/// Longest environment, in bytes.
const MAX_ONE_ENVIRONMENT: u64 = 1 << 20;

/// Longest output that is shown as the value of an argument, in bytes.
const MAX_VALUE_BYTES: i64 = 4 << 10;

/// Most outputs read for one answer.
const MAX_VALUES: usize = 1_000;

/// A run out of the record; where its steps are shown too, with the outputs that are values of
/// their arguments.
pub(super) type Found = (Run, Option<Vec<BoundOutput>>);

/// An output that is the value of an argument: places of step and argument, and the output.
pub(super) struct BoundOutput {
    step: usize,
    arg: String,
    output: Output,
}

/// Reads the run that `text` names.
pub(super) fn read(
    conn: &Connection,
    text: &str,
    with_steps: bool,
) -> Result<Result<Found, Status>, StoreError> {
    let row = match find::run(names::resolve(conn, text)?, text) {
        Ok(row) => row,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut run = details::of_row(conn, &row)?;
    if !with_steps {
        return Ok(Ok((run, None)));
    }
    let plan = details::plan(conn, row.run)?;
    let reader = StepReader { conn, run: row.run, plan: &plan, depth: Depth::Full };
    let mut bound = Vec::new();
    for step in steps::changed(conn, row.run, (-1, 0, MAX_STEPS))? {
        run.sequence = run.sequence.max(u64::try_from(step.sequence).unwrap_or_default());
        let place = run.steps.len();
        let outputs = reader.bound_outputs(&step)?.into_iter();
        bound.extend(outputs.map(|(arg, output)| BoundOutput { step: place, arg, output }));
        run.steps.push(reader.step(&step)?);
    }
    bound.extend(of_plan(&run, &plan));
    run.spec.clone_from(&plan.spec);
    Ok(Ok((run, Some(bound))))
}

/// Adds what lies in the store of blobs: environments, and outputs that are values of arguments.
/// Blocks.
pub(super) fn complete(run: &mut Run, bound: &[BoundOutput], blobs: &Store) {
    fill_values(run, bound, blobs);
    let mut known: HashMap<String, Option<Environment>> = HashMap::new();
    let mut left = MAX_ENVIRONMENT_BYTES;
    for attempt in run.steps.iter_mut().flat_map(|step| &mut step.attempts) {
        if attempt.environment_digest.is_empty() {
            continue;
        }
        let digest = attempt.environment_digest.clone();
        let environment = known.entry(digest).or_insert_with_key(|hex| environment(blobs, hex));
        let size = environment.as_ref().map_or(0, Message::encoded_len);
        if size <= left {
            left -= size;
            attempt.environment.clone_from(environment);
        }
    }
}

fn environment(blobs: &Store, hex: &str) -> Option<Environment> {
    let digest: Digest = hex.parse().ok()?;
    let bytes = blobs
        .read(&digest, MAX_ONE_ENVIRONMENT)
        .inspect_err(|error| tracing::warn!(%error, "an environment cannot be read"))
        .ok()?;
    Environment::decode(bytes.as_slice()).ok()
}

/// The outputs to which the plan itself binds arguments.
fn of_plan(run: &Run, plan: &Plan) -> Vec<BoundOutput> {
    let mut bound = Vec::new();
    let top = plan.steps.iter().take_while(|planned| planned.parent.is_none());
    for (step, planned) in top.enumerate() {
        for arg in &planned.args {
            let Some(Value::Output(wanted)) = &arg.value else { continue };
            let above = usize::try_from(wanted.step).ok().and_then(|place| run.steps.get(place));
            let output =
                above.and_then(|above| above.outputs.iter().find(|o| o.name == wanted.name));
            let output = output.cloned();
            bound.extend(output.map(|output| BoundOutput { step, arg: arg.name.clone(), output }));
        }
    }
    bound
}

fn fill_values(run: &mut Run, bound: &[BoundOutput], blobs: &Store) {
    let small = |bound: &&BoundOutput| {
        bound.output.codec == "json" && bound.output.size_bytes <= MAX_VALUE_BYTES
    };
    for BoundOutput { step, arg, output } in bound.iter().filter(small).take(MAX_VALUES) {
        let args = run.steps.get_mut(*step).map(|step| &mut step.args);
        let arg = args.and_then(|args| args.iter_mut().find(|known| known.name == *arg));
        if let Some(arg) = arg.filter(|arg| arg.json.is_empty())
            && let Some(json) = value(blobs, output)
        {
            arg.json = json;
        }
    }
}

fn value(blobs: &Store, output: &Output) -> Option<String> {
    let digest: Digest = output.digest.parse().ok()?;
    let limit = u64::try_from(MAX_VALUE_BYTES).unwrap_or_default();
    String::from_utf8(blobs.read(&digest, limit).ok()?).ok()
}
