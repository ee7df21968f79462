use windlass_proto::{
    api::v1::{self, run_source::Target},
    common::v1::{ParamSpec, PipelineSpec, SecretSpec, secret_spec::From},
};

use super::{Stage, run};
use crate::error::Exit;

fn secret(name: &str, from: Option<From>) -> SecretSpec {
    SecretSpec { name: name.into(), from }
}

fn stage(secrets: Vec<SecretSpec>) -> Stage {
    let stage = Stage::new();
    let token = ParamSpec { name: "token".into(), r#type: "secret".into(), ..Default::default() };
    let described =
        v1::DescribePipelineResponse { params: vec![token], secrets, functions: vec![] };
    let mut state = stage.daemon.state();
    state.described = Some(described);
    state.runs.push(run("calm-fox", v1::run::State::Queued, vec![]));
    drop(state);
    stage.write("p.yaml", "version: 1\nsecrets: [API_KEY]\n");
    stage
}

#[tokio::test]
async fn secrets_come_from_where_the_pipeline_says_and_go_nowhere_else() {
    let mut stage = stage(vec![
        secret("API_KEY", None),
        secret("OTHER", Some(From::Env("ELSEWHERE".into()))),
        secret("DB", Some(From::Dotenv(".env".into()))),
        secret("CERT", Some(From::File("cert.pem".into()))),
        secret("ASKED", Some(From::Command("printf '%s\\n' \"$HINT\" made".into()))),
    ]);
    stage.write(".env", "# mine\nDB=\"pass word\"\n");
    stage.write("cert.pem", "one\ntwo\n");
    let env = [("API_KEY", "k1"), ("ELSEWHERE", "k2"), ("HINT", "h"), ("PATH", "/usr/bin:/bin")];
    stage.config.env = env.map(|(name, value)| (name.into(), value.into())).into();
    let said = stage.say(&["submit", "p.yaml", "-p", "token=t0p", "-p", "n=1"]).await;
    assert_eq!(said.exit, Exit::Ok, "{}", said.err);

    let request = stage.daemon.state().created.remove(0);
    let text = |name: &str| String::from_utf8(request.secrets[name].to_vec()).unwrap();
    let names = ["API_KEY", "OTHER", "DB", "CERT", "ASKED", "token"];
    assert_eq!(names.map(text), ["k1", "k2", "pass word", "one\ntwo", "h\nmade", "t0p"]);
    let params = request.params.unwrap();
    assert_eq!((params.cli.len(), params.cli[0].name.as_str()), (1, "n"));
    let mut passed_on: Vec<_> = request.environment.keys().map(String::as_str).collect();
    passed_on.sort_unstable();
    assert_eq!(passed_on, ["HINT", "PATH"]);
}

#[tokio::test]
async fn a_missing_secret_is_named_with_the_place() {
    let mut stage = stage(vec![
        secret("API_KEY", None),
        secret("A", Some(From::Dotenv("no.env".into()))),
        secret("B", Some(From::Dotenv(".env".into()))),
        secret("C", Some(From::Dotenv("bad.env".into()))),
        secret("D", Some(From::Command("echo hidden; exit 3".into()))),
        secret("E", Some(From::File("empty".into()))),
    ]);
    stage.config.env = [("PATH".into(), "/usr/bin:/bin".into())].into();
    stage.write(".env", "OTHER=hidden\n");
    stage.write("bad.env", "OTHER=hidden\nhidden\n");
    stage.write("empty", "\n");
    let said = stage.say(&["run", "p.yaml"]).await;
    assert_eq!(said.exit, Exit::Refused);
    for message in [
        "no value for the secret `API_KEY`: the environment variable API_KEY is not set",
        "help: export API_KEY, or say in the pipeline where it is",
        "no value for the secret `A`: there is no file no.env",
        "no value for the secret `B`: .env has no line B=…",
        "no value for the secret `C`: the line has no `=`\n --> bad.env:2:1",
        "no value for the secret `D`: the command `echo hidden; exit 3` ended with exit code 3",
        "no value for the secret `E`: what was found there is empty",
    ] {
        assert!(said.err.contains(message), "{message}: {}", said.err);
    }
    assert!(stage.daemon.state().created.is_empty());
}

#[tokio::test]
async fn a_rerun_finds_its_secrets_anew() {
    let mut stage = stage(vec![secret("API_KEY", None)]);
    let spec = PipelineSpec { secrets: vec![secret("API_KEY", None)], ..Default::default() };
    stage.daemon.state().runs[0].spec = Some(spec);
    stage.config.env = [("API_KEY".into(), "k1".into())].into();
    // The daemon refuses it, after it was asked.
    stage.say(&["rerun", "@last", "--priority", "-3"]).await;
    let request = stage.daemon.state().reran.remove(0);
    assert_eq!((&request.secrets["API_KEY"][..], request.priority), (&b"k1"[..], -3));
}

#[tokio::test]
async fn a_plan_needs_no_secret_and_gets_none() {
    let stage = stage(vec![secret("API_KEY", None)]);
    stage.write("mocks.yaml", "{a: {fail: no}}");
    let args = ["plan", "p.yaml", "-p", "token=t0p", "--mocks", "mocks.yaml", "--mock-all"];
    let said = stage.say(&[&args[..], &["--patch", "a=m:f", "--strict"]].concat()).await;
    assert_eq!(said.exit, Exit::Ok, "{}", said.err);
    let request = stage.daemon.state().planned.remove(0);
    assert!(!format!("{request:?}").contains("t0p"));
    let source = request.source.unwrap();
    assert_eq!(source.target, Some(Target::PipelineFile("p.yaml".into())));
    let substitutes = request.substitutes.unwrap();
    assert_eq!((&*substitutes.mocks[0].name, substitutes.mock_all), ("mocks.yaml", true));
    assert_eq!(substitutes.patches["a"], "m:f");
    assert!(request.params.unwrap().strict);
}
