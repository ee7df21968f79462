use super::*;

#[tokio::test]
async fn the_daemon_describes_itself_and_stops_when_asked() {
    let daemon = Daemon::start().await;
    // An open stream must not hold it up.
    let mut tail = daemon.tail(0, true).await;
    let mut system = SystemServiceClient::new(daemon.channel.clone());
    let info = system.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.pid, info.instance_id.as_str()), (std::process::id(), "instance"));
    assert_eq!(info.home, daemon.home.root().display().to_string());
    assert!(info.limits.unwrap().max_message_bytes == 4 << 20 && info.server_time.is_some());
    system.stop_server(StopServerRequest {}).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, tail.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&told), "SHUTTING_DOWN");
    daemon.ended().await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_so() {
    let daemon = Daemon::start().await;
    let mut runs =
        windlass_proto::api::v1::run_service_client::RunServiceClient::new(daemon.channel.clone());
    let request = windlass_proto::api::v1::GetPipelineSchemaRequest {};
    let error = runs.get_pipeline_schema(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    daemon.stop().await;
}

#[tokio::test]
async fn an_idle_daemon_leaves_but_not_while_it_is_used() {
    // Long enough to see a daemon leave that should not.
    const WATCHED: Duration = Duration::from_millis(150);
    let daemon = Daemon::start_with(Some(Duration::from_millis(30)), true).await;
    let early = tokio::time::timeout(WATCHED, daemon.stop.cancelled()).await;
    assert!(early.is_err(), "a run is live");
    let tail = daemon.tail(0, true).await;
    daemon.engine.live.store(false, Ordering::SeqCst);
    let early = tokio::time::timeout(WATCHED, daemon.stop.cancelled()).await;
    assert!(early.is_err(), "somebody follows a log");
    drop(tail);
    daemon.ended().await.unwrap();
}

#[tokio::test]
async fn a_daemon_without_its_engine_ends_with_an_error() {
    let daemon = Daemon::start().await;
    daemon.engine.died.cancel();
    assert!(matches!(daemon.ended().await, Err(DaemonError::EngineDied)));
}
