use windlass_proto::api::v1::{self, PipelineError, run_source::Target};

use super::{Stage, run};
use crate::error::Exit;

fn stage() -> Stage {
    let stage = Stage::new();
    stage.daemon.state().runs.push(run("calm-fox", v1::run::State::Queued, vec![]));
    stage.write("churn.yaml", "version: 1\nfiles: [data/*.csv]\n");
    stage.write(".gitignore", "data/\n");
    stage.write("data/a.csv", "1\n");
    stage.write("data/b.bin", "2\n");
    stage.write("functions.py", "def train(): ...\n");
    stage
}

#[tokio::test]
async fn a_submission_carries_all_that_is_known_of_the_caller() {
    let mut stage = stage();
    stage.config.env = [("WINDLASS_PARAM_rate", "0.5"), ("USER", "ana"), ("TOKEN", "x")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    stage.write("one.yaml", "{seed: 1}");
    let args = ["submit", "churn.yaml", "--json", "-p", "n=200", "--params", "one.yaml"];
    let said = stage.say(&[&args[..], &["--label", "a=b", "--note", "why"]].concat()).await;
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let expected =
        serde_json::json!({"run_id": "0193a1b2-7c3d-7000-8000-0000calm-fox", "name": "calm-fox"});
    assert_eq!((said.exit, answer), (Exit::Ok, expected));

    let request = stage.daemon.state().created.remove(0);
    let params = request.params.unwrap();
    assert_eq!((&*params.cli[0].name, &*params.cli[0].text), ("n", "200"));
    assert_eq!((&*params.env[0].name, &*params.env[0].text), ("rate", "0.5"));
    assert_eq!((&*params.files[0].name, &*params.files[0].text), ("one.yaml", "{seed: 1}"));
    assert_eq!((request.user.as_str(), request.note.as_str()), ("ana", "why"));
    assert_eq!(request.labels["a"], "b");
    assert_eq!(&request.environment["TOKEN"][..], b"x");
    assert!(uuid::Uuid::parse_str(&request.request_id).is_ok());
    let source = request.source.unwrap();
    assert_eq!(source.target, Some(Target::PipelineFile("churn.yaml".into())));
    let state = stage.daemon.state();
    let tree = String::from_utf8(state.blobs[&source.snapshot].clone()).unwrap();
    assert!(tree.contains("data/a.csv") && !tree.contains("b.bin"), "{tree}");
    let left_out = String::from_utf8(state.blobs[&source.left_out].clone()).unwrap();
    assert!(left_out.contains("data/"), "{left_out:?}");
    assert_eq!(state.uploaded.last(), Some(&source.snapshot), "the tree comes last");
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let stage = stage();
    for _ in 0..2 {
        assert_eq!(stage.say(&["submit", "functions.py:train"]).await.exit, Exit::Ok);
    }
    let before = stage.daemon.state().uploaded.len();
    stage.write("functions.py", "def train(): pass\n");
    assert_eq!(stage.say(&["submit", "functions.py:train"]).await.exit, Exit::Ok);
    let state = stage.daemon.state();
    assert_eq!(state.uploaded.len(), before + 2, "the file and the tree");
    let targets: Vec<_> = state.created.iter().map(|r| r.source.clone().unwrap().target).collect();
    assert_eq!(targets[2], Some(Target::Function("functions.py:train".into())));
}

#[tokio::test]
async fn the_root_is_the_nearest_marked_directory() {
    let mut stage = stage();
    stage.write("windlass.toml", "[capture]\nmax_file_size = \"1kB\"\n");
    stage.write("sub/p.yaml", "version: 1\n");
    stage.write("sub/big.bin", &"x".repeat(2_000));
    stage.config.cwd = stage.config.cwd.join("sub");
    assert_eq!(stage.say(&["submit", "p.yaml"]).await.exit, Exit::Ok);
    let state = stage.daemon.state();
    let source = state.created[0].source.clone().unwrap();
    assert_eq!(source.target, Some(Target::PipelineFile("sub/p.yaml".into())));
    let tree = String::from_utf8(state.blobs[&source.snapshot].clone()).unwrap();
    assert!(tree.contains("functions.py") && !tree.contains("big.bin"), "{tree}");
}

#[tokio::test]
async fn refusals_start_nothing() {
    let stage = stage();
    for (args, message) in [
        (&["run", "nowhere.yaml"][..], "no file nowhere.yaml"),
        (&["run", "churn.yaml", "--on", "procss"][..], "did you mean `process`?"),
        (&["run", "churn.yaml", "-p", "n"][..], "write -p NAME=VALUE"),
        (&["run", "churn.yaml", "--params", "no.yaml"][..], "no file no.yaml"),
        (&["run", "report.ipynb"][..], "no file report.ipynb"),
        (&["run", "churn.yaml", "--mocks", "no.yaml"][..], "no file no.yaml"),
        (&["run", "churn.yaml", "--patch", "train"][..], "write --patch STEP=MODULE:FUNCTION"),
        (&["run", "churn.yaml", "--patch", "a=b"][..], "write --patch STEP=MODULE:FUNCTION"),
        (&["run", "churn.yaml", "--sweep", "lr"][..], "no -p gives `lr` a list"),
        (&["rerun", "@last"][..], "the note is too long"),
    ] {
        let said = stage.say(args).await;
        assert_eq!(said.exit, Exit::Refused, "{args:?}");
        assert!(said.err.contains(message), "{args:?}: {}", said.err);
    }
    assert!(stage.daemon.state().created.is_empty());
}

#[tokio::test]
async fn mistakes_are_listed_with_their_places() {
    let stage = stage();
    assert_eq!(
        stage.say(&["check", "churn.yaml", "--json"]).await.out,
        "{\"ok\":true,\"errors\":[]}\n"
    );
    stage.daemon.state().mistakes = vec![PipelineError {
        path: "churn.yaml".into(),
        line: 2,
        column: 1,
        message: "unknown key `files`".into(),
        help: "did you mean `file`?".into(),
    }];
    let said = stage.say(&["check", "churn.yaml", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.exit, &answer["ok"]), (Exit::Refused, &false.into()));
    assert_eq!(answer["errors"][0]["line"], 2);
    let said = stage.say(&["check", "churn.yaml"]).await;
    let expected = "\
error: unknown key `files`
 --> churn.yaml:2:1
  |
2 | files: [data/*.csv]
  | ^^^^^
  help: did you mean `file`?
";
    assert_eq!((said.exit, said.err.as_str()), (Exit::Refused, expected));
    let said = stage.say(&["check", "nowhere.yaml", "--json"]).await;
    assert!(said.out.contains("no file nowhere.yaml") && said.exit == Exit::Refused);
}

#[tokio::test]
async fn cancelling_says_who_asked() {
    let stage = stage();
    let said = stage.say(&["cancel", "@last", "--now"]).await;
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, "calm-fox queued\n"));
    let state = stage.daemon.state();
    assert!(state.cancelled[0].force && state.cancelled[0].reason.starts_with("cancelled by "));
}

#[tokio::test]
async fn help_lists_what_the_target_asks_for() {
    use windlass_proto::common::v1::{ParamSpec, SecretSpec};
    let stage = stage();
    let param = ParamSpec { name: "seed".into(), r#type: "int".into(), ..Default::default() };
    let secret = SecretSpec { name: "API_KEY".into(), from: None };
    let functions = vec![];
    let described =
        v1::DescribePipelineResponse { params: vec![param], secrets: vec![secret], functions };
    stage.daemon.state().described = Some(described);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let config = &stage.config;
    let mut app = crate::app::App { config, out: &mut out, err: &mut err, json: false };
    crate::asking::print(&mut app, "churn.yaml").await.unwrap();
    let expected = "
Parameters of churn.yaml:
  -p seed=…  int  required

Secrets:
  API_KEY  the environment variable API_KEY
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[tokio::test]
async fn a_starter_is_written_once() {
    let stage = stage();
    let function = |name: &str| v1::FunctionInfo { name: name.into(), ..Default::default() };
    let functions = vec![function("load"), function("train")];
    stage.daemon.state().described =
        Some(v1::DescribePipelineResponse { functions, ..Default::default() });
    let said = stage.say(&["init", "functions:train"]).await;
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, "pipeline.yaml: 1 step\n"));
    let text = std::fs::read_to_string(stage.config.cwd.join("pipeline.yaml")).unwrap();
    assert!(text.contains("python: \"functions:train\"") && !text.contains("load:"), "{text}");
    let said = stage.say(&["init", "functions"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.starts_with("error: pipeline.yaml is there already\n"), "{}", said.err);
    let said = stage.say(&["init", "functions:trian", "--force"]).await;
    assert!(said.err.contains("did you mean `train`?"), "{}", said.err);
    let said = stage.say(&["init", "functions", "--force"]).await;
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, "pipeline.yaml: 2 steps\n"));
}
