use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use windlass_core::StepIndex;
use windlass_proto::common::v1::{PipelineSpec, SecretSpec, StepSpec, step_spec::Action};

use super::{
    Callables, Ingredients,
    edges::{self, Edges},
    expressions::{self, Told},
    fan, functions,
    inner::{self, InnerFile},
    notebooks,
};
use crate::{
    compile::{
        MAX_STEPS,
        python::Project,
        report::{Origin, Part, Report},
        validate::{check_files, validate},
    },
    expr::{BadExpression, Expression},
};

/// One pipeline of a plan, its graph resolved.
pub(super) struct Level {
    pub(super) spec: PipelineSpec,
    /// The file of an inner pipeline.
    pub(super) file: Option<Rc<InnerFile>>,
    pub(super) callables: Callables,
    /// Functions that `--patch` puts in the place of the steps' own.
    pub(super) patched: Vec<Option<String>>,
    pub(super) told: Vec<Told>,
    pub(super) edges: Vec<Edges>,
    /// The argument of a reducing function that gets the list.
    pub(super) reduce_args: Vec<Option<String>>,
    pub(super) inner: Vec<Option<Level>>,
}

/// What is shared while the levels of a pipeline are read.
pub(super) struct Building<'a> {
    pub(super) from: &'a Ingredients<'a>,
    project: Project<'a>,
    templates: Cell<usize>,
    pub(super) files: RefCell<HashMap<String, Rc<InnerFile>>>,
    expressions: RefCell<HashMap<String, Result<Arc<Expression>, BadExpression>>>,
}

impl<'a> Building<'a> {
    pub(super) fn new(from: &'a Ingredients<'a>) -> Self {
        Self {
            from,
            project: Project::new(from.files),
            templates: Cell::new(0),
            files: RefCell::default(),
            expressions: RefCell::default(),
        }
    }

    pub(super) fn project(&self) -> &Project<'a> {
        &self.project
    }

    /// The expression of that text, read once.
    pub(super) fn expression(&self, text: &str) -> Result<Arc<Expression>, BadExpression> {
        let mut known = self.expressions.borrow_mut();
        let read = || Expression::parse(text).map(Arc::new);
        known.entry(text.to_owned()).or_insert_with(read).clone()
    }
}

/// Where in the nest of pipelines a level is.
#[derive(Clone, Debug, Default)]
pub(super) struct Nest {
    /// Ends with `/` where it is not empty.
    pub(super) prefix: String,
    /// The inner files around it, the outermost first.
    pub(super) files: Vec<String>,
}

impl Level {
    /// Reads the outermost level.
    pub(super) fn build(
        building: &Building<'_>,
        spec: PipelineSpec,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let files = report.file().map(str::to_owned).into_iter().collect();
        let nest = Nest { prefix: String::new(), files };
        Self::build_in(building, spec, None, &nest, report)
    }

    pub(super) fn build_in(
        building: &Building<'_>,
        spec: PipelineSpec,
        file: Option<Rc<InnerFile>>,
        nest: &Nest,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let needs = validate(&spec, report);
        if needs.len() != spec.steps.len() {
            return None;
        }
        building.templates.set(building.templates.get().saturating_add(spec.steps.len()));
        if building.templates.get() > MAX_STEPS {
            let message = format!("with its inner pipelines it has more than {MAX_STEPS} steps");
            let help = "go over the inner pipeline with `foreach`".to_owned();
            report.key(&spec, &[Part::Key("steps")], (message, help));
            return None;
        }
        let patched = functions::patched(building, &spec, nest, report);
        let callables = functions::find(&spec, &patched, building.project(), report);
        notebooks::check(&spec, building.from.files, report);
        check_files(&spec, building.from.files, report);
        let inner = inner::build(building, &spec, nest, report);
        functions::check_with(&spec, (&callables, &inner), report);
        let told = expressions::read(building, &spec, report);
        let reduce_args = fan::reducers(&spec, building.project(), report);
        let mut level =
            Self { spec, file, callables, patched, told, edges: vec![], reduce_args, inner };
        level.edges = edges::resolve(&level, needs, report)?;
        expressions::check(&level, report);
        fan::check(&level, report);
        inner::check_out(building, &level, report);
        Some(level)
    }

    /// This level and all below it.
    pub(super) fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(level) = all.get(next).copied() {
            all.extend(level.inner.iter().flatten());
            next += 1;
        }
        all
    }

    pub(super) fn is_outermost(&self) -> bool {
        self.file.is_none()
    }

    pub(super) fn step(&self, step: StepIndex) -> Option<&StepSpec> {
        self.spec.steps.get(usize::try_from(step.0).unwrap_or(usize::MAX))
    }

    /// The arguments that values can be bound to; `None` where any name will do.
    pub(super) fn takes(&self, i: usize) -> Option<Vec<&str>> {
        if let Some(inner) = &self.inner[i] {
            return Some(inner.spec.params.iter().map(|param| param.name.as_str()).collect());
        }
        match &self.spec.steps[i].action {
            Some(Action::Python(_)) => {
                let signature = self.callables[i].as_ref()?.signature.as_ref()?;
                Some(signature.given_by_name().map(|p| p.name.as_str()).collect())
            }
            Some(_) | None => None,
        }
    }

    /// Works with a report of the level's own file, and hands its mistakes on.
    pub(super) fn with_report<T>(
        &self,
        report: &mut Report<'_>,
        work: impl FnOnce(&mut Report<'_>) -> T,
    ) -> T {
        let Some(file) = &self.file else { return work(report) };
        let mut own = Report::new(Origin::File { path: &file.path, tree: &file.tree });
        let done = work(&mut own);
        for error in own.into_errors() {
            report.push(error);
        }
        done
    }

    /// The secrets of all levels, each name once.
    pub(super) fn secrets(&self, report: &mut Report<'_>) -> Vec<SecretSpec> {
        let mut all: Vec<SecretSpec> = vec![];
        let mut seen = HashSet::new();
        for level in self.all() {
            for (i, secret) in level.spec.secrets.iter().enumerate() {
                if seen.insert(secret.name.as_str()) {
                    all.push(secret.clone());
                } else if !all.contains(secret) {
                    level.with_report(report, |report| {
                        let message = format!(
                            "secret `{}` is found elsewhere by another pipeline of this run",
                            secret.name
                        );
                        let help = "rename it, or say the same `from`".to_owned();
                        let parts = [Part::Key("secrets"), Part::Item(i)];
                        report.value(&level.spec, &parts, (message, help));
                    });
                }
            }
        }
        all
    }
}
