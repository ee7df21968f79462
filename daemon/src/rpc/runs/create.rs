//! How a run comes to be: from files and parameters, or from another run.

use std::sync::Arc;

use tonic::Status;
use uuid::Uuid;
use windlass_core::RunId;
use windlass_proto::api::v1::{
    CreateRunRequest, CreateRunResponse, ErrorReason, RerunRunRequest, RerunRunResponse, Run,
};
use windlass_proto::common::v1::{Plan, PlannedStep};

use super::{RunsRpc, fields};
use crate::{
    compile::Compiled,
    engine::{CallerVariables, NewRun},
    rpc::{
        compile_calls::Offered,
        engine_status::bad_graph,
        find,
        status::{internal, invalid, status},
    },
    space,
    store::{
        details, names,
        records::{CallerEnvironment, RunRecord},
        requests,
        runs::{self, Flow},
    },
};

/// What is known of a run before it has an id.
struct Draft {
    request: Uuid,
    name: Option<String>,
    plan: Plan,
    /// Without what the engine knows better.
    run: Run,
    left_out: String,
    environment: CallerEnvironment,
    flow: Flow,
}

impl RunsRpc {
    pub(super) async fn create(
        &self,
        request: CreateRunRequest,
    ) -> Result<CreateRunResponse, Status> {
        let id = fields::request_id(&request.request_id)?;
        if let Some(run) = self.earlier(id).await? {
            return Ok(CreateRunResponse { run: Some(run), replayed: true });
        }
        let name = fields::name(request.name)?;
        fields::labels(&request.labels)?;
        fields::note(&request.note)?;
        fields::git(request.git.as_ref())?;
        fields::short("user", &request.user)?;
        fields::short("host", &request.host)?;
        fields::environment(&request.environment)?;
        let (source, target) = fields::source(request.source)?;
        let run = Run {
            labels: request.labels,
            note: request.note,
            git: request.git,
            snapshot: source.snapshot.clone(),
            user: request.user,
            host: request.host,
            kind: "run".to_owned(),
            target,
            ..Run::default()
        };
        let left_out = source.left_out.clone();
        let offered = Offered {
            values: request.params.unwrap_or_default(),
            substitutes: request.substitutes.unwrap_or_default(),
            secrets: Some(request.secrets),
        };
        let Compiled { plan, secrets } = self.compiler.compile(source, offered).await?;
        let environment = CallerEnvironment {
            variables: request.environment,
            secrets,
            ..CallerEnvironment::default()
        };
        let flow = flow(&plan, request.priority);
        let draft = Draft { request: id, name, plan, run, left_out, environment, flow };
        let (run, replayed) = self.submit(draft).await?;
        Ok(CreateRunResponse { run: Some(run), replayed })
    }

    pub(super) async fn rerun(&self, request: RerunRunRequest) -> Result<RerunRunResponse, Status> {
        let id = fields::request_id(&request.request_id)?;
        if let Some(run) = self.earlier(id).await? {
            return Ok(RerunRunResponse { run: Some(run), replayed: true });
        }
        let name = fields::name(request.name)?;
        fields::labels(&request.labels)?;
        fields::note(&request.note)?;
        fields::short("user", &request.user)?;
        fields::short("host", &request.host)?;
        fields::environment(&request.environment)?;
        let values = request.params.unwrap_or_default();
        if !values.env.is_empty() {
            return Err(invalid("params.env", "must be empty: a rerun has the old run's values"));
        }
        let text = super::run_text(request.run)?;
        let old = self.readers.read(move |conn| {
            let row = match find::run(names::resolve(conn, &text)?, &text) {
                Ok(row) => row,
                Err(refused) => return Ok(Err(refused)),
            };
            let record = runs::record(conn, row.run)?.unwrap_or_default();
            let plan = details::plan(conn, row.run)?;
            Ok(Ok((row, record, plan)))
        });
        let (row, RunRecord { run: api, left_out, .. }, plan) = old.await??;
        let old = api.unwrap_or_default();
        let offered = Offered { values, secrets: Some(request.secrets), ..Offered::default() };
        let compiled = self.compiler.rebind(old.snapshot.clone(), plan, offered).await?;
        let Compiled { plan, secrets } = compiled;
        let run = Run {
            labels: request.labels,
            note: request.note,
            user: request.user,
            host: request.host,
            kind: "rerun".to_owned(),
            parent_run_id: row.run.to_string(),
            git: old.git,
            snapshot: old.snapshot,
            target: old.target,
            ..Run::default()
        };
        let environment = CallerEnvironment {
            variables: request.environment,
            secrets,
            ..CallerEnvironment::default()
        };
        let flow = flow(&plan, request.priority);
        let draft = Draft { request: id, name, plan, run, left_out, environment, flow };
        let (run, replayed) = self.submit(draft).await?;
        Ok(RerunRunResponse { run: Some(run), replayed })
    }

    /// The run that the request made earlier.
    async fn earlier(&self, request: Uuid) -> Result<Option<Run>, Status> {
        let now = self.clock.now();
        let found = self.readers.read(move |conn| match requests::find(conn, request, now)? {
            Some(run) => Ok(Some((run, details::run(conn, run)?))),
            None => Ok(None),
        });
        match found.await? {
            Some((run, None)) => Err(gone(run)),
            Some((_, found)) => Ok(found),
            None => Ok(None),
        }
    }

    /// Creates the run: the private file first, so that a run that is there has its environment.
    async fn submit(&self, draft: Draft) -> Result<(Run, bool), Status> {
        if let Some(reason) = space::read_only_reason(&self.home) {
            return Err(status(ErrorReason::ReadOnly, reason));
        }
        let steps = u32::try_from(draft.plan.steps.len()).unwrap_or(u32::MAX);
        if steps > self.limits.max_steps {
            let told = format!("{steps} steps; a run has at most {}", self.limits.max_steps);
            return Err(status(ErrorReason::LimitExceeded, told));
        }
        let Draft { request, name, plan, mut run, left_out, environment, flow } = draft;
        run.params = details::params(&plan);
        run.environment_digests = self.environments.digests(&environment.variables);
        let variables: Option<CallerVariables> =
            (!environment.is_empty()).then(|| Arc::new(environment));
        let id = self.engine.new_run_id();
        if let Some(variables) = &variables {
            self.save_environment(id, variables).await?;
        }
        let kept = variables.is_some();
        let record = RunRecord { run: Some(run), left_out, has_private_file: kept };
        let made = NewRun::new((id, request), name, record.clone(), plan, variables);
        let made = made.map(|run| run.with_flow(flow));
        let result = match made {
            Ok(new) => self.engine.create(new).await.map_err(Status::from),
            Err(error) => Err(bad_graph(&error)),
        };
        if kept && !result.as_ref().is_ok_and(|created| created.row.is_some()) {
            let environments = self.environments.clone();
            tokio::task::spawn_blocking(move || environments.discard(id)).await.ok();
        }
        let created = result?;
        match created.row {
            Some(row) => Ok((row.to_api(record), false)),
            None => Ok((self.by_id(created.run).await?, true)),
        }
    }

    async fn save_environment(
        &self,
        run: RunId,
        variables: &CallerVariables,
    ) -> Result<(), Status> {
        let (environments, variables) = (self.environments.clone(), Arc::clone(variables));
        let saved = tokio::task::spawn_blocking(move || environments.save(run, &variables)).await;
        saved.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
    }

    /// One run, without steps.
    pub(super) async fn by_id(&self, run: RunId) -> Result<Run, Status> {
        let found = self.readers.read(move |conn| details::run(conn, run)).await?;
        found.ok_or_else(|| gone(run))
    }
}

/// What decides when the run goes on, and whether its results count.
fn flow(plan: &Plan, priority: i32) -> Flow {
    let stands_in = |step: &PlannedStep| step.mock.is_some() || !step.patched.is_empty();
    Flow {
        priority,
        held: false,
        concurrency: plan.concurrency_key.clone(),
        substituted: plan.steps.iter().any(stands_in),
    }
}

fn gone(run: RunId) -> Status {
    status(ErrorReason::RunNotFound, format!("run {run} was deleted"))
}
