use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_iam::error::ProvideErrorMetadata;

use super::*;

struct Endpoint {
    world: World,
    part: Part,
    config: aws_config::SdkConfig,
}

/// A served world and what the SDKs need to call it as its administrator.
async fn endpoint() -> Endpoint {
    let world = World::for_tests();
    let (key, secret) = crate::sandbox::aws::iam::bootstrap(&world, &mut world.state());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let control = Control {
        token: "token".into(),
        status: Box::new(|| json!({})),
        stop: watch::Sender::new(false),
    };
    let part = start(world.clone(), listener, control);
    let config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-west-2"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(
            aws_credential_types::provider::SharedCredentialsProvider::new(Credentials::new(
                key, secret, None, None, "test",
            )),
        )
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
            aws_smithy_async::rt::sleep::TokioSleep::new(),
        ))
        .build();
    Endpoint {
        world,
        part,
        config,
    }
}

#[tokio::test]
async fn the_sdks_are_answered_in_their_protocols() {
    let Endpoint {
        world,
        part,
        config,
    } = endpoint().await;
    let sts = aws_sdk_sts::Client::new(&config);
    let caller = sts.get_caller_identity().send().await.expect("answers");
    assert_eq!(caller.arn(), Some("arn:aws:iam::123456789012:user/sandbox"));
    let iam = aws_sdk_iam::Client::new(&config);
    let trust = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}}"#;
    let made = iam
        .create_role()
        .role_name("r")
        .assume_role_policy_document(trust)
        .send()
        .await
        .expect("made");
    assert_eq!(
        made.role().map(|role| role.arn()),
        Some("arn:aws:iam::123456789012:role/r")
    );
    let missing = iam
        .get_role()
        .role_name("gone")
        .send()
        .await
        .expect_err("no such role");
    assert!(
        missing
            .as_service_error()
            .is_some_and(|error| error.is_no_such_entity_exception()),
        "{missing:?}"
    );

    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    logs.create_log_group()
        .log_group_name("g")
        .send()
        .await
        .expect("made");
    let again = logs
        .create_log_group()
        .log_group_name("g")
        .send()
        .await
        .expect_err("exists");
    assert!(
        again
            .as_service_error()
            .is_some_and(|error| error.is_resource_already_exists_exception())
    );
    let xray = aws_sdk_xray::Client::new(&config);
    let taken = xray
        .put_trace_segments()
        .trace_segment_documents("{}")
        .send()
        .await
        .expect("answers");
    assert_eq!(taken.unprocessed_trace_segments().len(), 1);
    let eks = aws_sdk_eks::Client::new(&config);
    let missing = eks
        .describe_cluster()
        .name("gone")
        .send()
        .await
        .expect_err("no such cluster");
    assert!(
        missing
            .as_service_error()
            .is_some_and(|error| error.is_resource_not_found_exception())
    );

    // A role without policies may do nothing, and is told so in each protocol's way.
    let role = "arn:aws:iam::123456789012:role/r";
    let session = sts
        .assume_role()
        .role_arn(role)
        .role_session_name("me")
        .send()
        .await
        .expect("assumed");
    let session = session.credentials().expect("credentials");
    let credentials = Credentials::new(
        session.access_key_id(),
        session.secret_access_key(),
        Some(session.session_token().into()),
        None,
        "test",
    );
    let weak = config
        .to_builder()
        .credentials_provider(
            aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
        )
        .build();
    let refused = aws_sdk_eks::Client::new(&weak)
        .list_clusters()
        .send()
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Some("AccessDeniedException"));
    let refused = aws_sdk_iam::Client::new(&weak)
        .list_roles()
        .send()
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Some("AccessDenied"));
    world
        .state()
        .iam
        .sessions
        .values_mut()
        .for_each(|session| session.expires = 0);
    let expired = aws_sdk_sts::Client::new(&weak)
        .get_caller_identity()
        .send()
        .await
        .expect_err("expired");
    assert_eq!(expired.code(), Some("ExpiredToken"));
    part.stop.await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let Endpoint { part, config, .. } = endpoint().await;
    let url = config.endpoint_url().expect("an endpoint").to_owned();
    let ask = |request: String| {
        let address = url.trim_start_matches("http://").to_owned();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(&address)
                .await
                .expect("connects");
            stream
                .write_all(request.replace("HOST", &address).as_bytes())
                .await
                .expect("writes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("answers");
            answer
        }
    };
    let answer =
        ask("GET /clusters HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".into())
            .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer =
        ask("GET /clusters HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n".into()).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("Missing Authentication Token"),
        "{answer}"
    );
    let answer =
        ask("POST /_sandbox/stop HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n".into()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let body = "Action=AssumeRoleWithWebIdentity&RoleArn=arn:aws:iam::123456789012:role/x&RoleSessionName=xx&WebIdentityToken=x.y.z";
    let answer = ask(format!(
        "POST / HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>InvalidIdentityToken</Code>"),
        "{answer}"
    );
    part.stop.await;
}
