//! Who is let in.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use chat::{AllowedAssistants, KeyId, Maintenance, Permission, Timestamp};
use http::{Method, Request};
use serde_json::json;
use server::Config;

use crate::gateway::{ADMIN, Gateway, KEY, Plan, in_seconds, key, request};

fn get(path: &str, header: &str, value: &str) -> Request<Body> {
    Request::builder().uri(path).header(header, value).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_key_is_asked_for_and_taken_in_two_headers() {
    let gateway = Gateway::new(Plan::default());
    let code = async |request| gateway.send(request).await.code();
    let bare = Request::builder().uri("/v1/assistants").body(Body::empty()).unwrap();
    let answer = gateway.send(bare).await;
    assert_eq!(answer.code(), (401, "missing_key".into()));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    for (header, value) in [
        ("authorization", "Bearer wrong".to_owned()),
        ("authorization", "Bearer ".to_owned()),
        ("authorization", format!("Basic {KEY}")),
        ("authorization", KEY.to_owned()),
        ("x-api-key", "wrong".to_owned()),
        ("x-api-key", String::new()),
        ("authorization", "Bearer swt_forged.seal".to_owned()),
        ("authorization", format!("Bearer {}", "x".repeat(20_000))),
    ] {
        assert_eq!(
            code(get("/v1/assistants", header, &value)).await,
            (401, "invalid_key".into()),
            "{header}"
        );
    }
    for (header, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("bearer {KEY}")),
        ("x-api-key", KEY.into()),
    ] {
        assert_eq!(gateway.send(get("/v1/assistants", header, &value)).await.status, 200, "{header}");
    }
}

#[tokio::test]
async fn of_several_keys_none_is_chosen() {
    let gateway = Gateway::new(Plan::default());
    let good = format!("Bearer {KEY}");
    let code = async |headers: [(&str, &str); 2]| {
        let mut request = Request::builder().uri("/v1/assistants");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        gateway.send(request.body(Body::empty()).unwrap()).await
    };
    for headers in [
        [("authorization", good.as_str()), ("authorization", "Bearer wrong")],
        [("authorization", "Bearer wrong"), ("authorization", good.as_str())],
        [("authorization", good.as_str()), ("authorization", "Basic wrong")],
        [("authorization", good.as_str()), ("x-api-key", "wrong")],
        [("x-api-key", KEY), ("x-api-key", "wrong")],
    ] {
        assert_eq!(code(headers).await.code(), (401, "invalid_key".into()), "{headers:?}");
    }
    // The same one twice is no question.
    assert_eq!(code([("authorization", good.as_str()), ("x-api-key", KEY)]).await.status, 200);
}

#[tokio::test]
async fn expired_and_revoked_keys_are_told_apart() {
    let past = Timestamp::now().minus(Duration::from_secs(1));
    let keys = vec![key("expired-in-the-file", |spec| spec.expires_at = Some(past))];
    let gateway = Gateway::new(Plan { keys, ..Plan::default() });
    gateway.vault.add("expired-in-the-store", |key| key.expires_at = Some(past)).await;
    let id = gateway.vault.add("revoked-in-the-store", |_| {}).await;
    gateway.vault.revoke_key(id, Timestamp::now()).await.unwrap();
    gateway.vault.add("good-in-the-store", |_| {}).await;
    for (secret, status) in [
        ("expired-in-the-file", (401, "expired_key")),
        ("expired-in-the-store", (401, "expired_key")),
        ("revoked-in-the-store", (401, "invalid_key")),
    ] {
        let answer = gateway.send(request(Method::GET, "/v1/assistants", secret, "")).await;
        assert_eq!(answer.code(), (status.0, status.1.to_owned()), "{secret}");
    }
    let answer = gateway.send(request(Method::GET, "/v1/assistants", "good-in-the-store", "")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn keys_of_a_reload_replace_those_before() {
    let gateway = Gateway::new(Plan::default());
    assert_eq!(gateway.get("/v1/assistants").await.status, 200);
    gateway.server.set_keys(vec![key("another-key-for-tests", |_| {})]);
    assert_eq!(gateway.get("/v1/assistants").await.code(), (401, "invalid_key".into()));
}

#[tokio::test]
async fn a_store_that_is_down_makes_no_valid_key_invalid() {
    let gateway = Gateway::new(Plan::default());
    gateway.vault.add("kept", |_| {}).await;
    let call = async |secret| gateway.send(request(Method::GET, "/v1/assistants", secret, "")).await;
    assert_eq!(call("kept").await.status, 200);
    gateway.vault.down.store(true, Ordering::SeqCst);
    // Known from before: past the second in which nothing is asked again.
    let until = gateway.vault.look_ups.load(Ordering::SeqCst) + 1;
    while gateway.vault.look_ups.load(Ordering::SeqCst) < until {
        assert_eq!(call("kept").await.status, 200);
        tokio::task::yield_now().await;
    }
    let unknown = call("not-known").await;
    assert_eq!(unknown.code(), (503, "store_unavailable".into()));
    assert!(unknown.header("retry-after").is_some());
    assert_eq!(call(KEY).await.status, 200);
}

#[tokio::test]
async fn look_ups_are_remembered_also_those_that_found_nothing() {
    let gateway = Gateway::new(Plan::default());
    gateway.vault.add("kept", |_| {}).await;
    for _ in 0..20 {
        gateway.send(request(Method::GET, "/v1/assistants", "kept", "")).await;
        gateway.send(request(Method::GET, "/v1/assistants", "nothing", "")).await;
    }
    let look_ups = gateway.vault.look_ups.load(Ordering::SeqCst);
    assert!(look_ups < 20, "{look_ups}");
}

#[tokio::test]
async fn an_open_gateway_answers_loopback_names_only() {
    let config = Config { open: true, ..Config::default() };
    let gateway = Gateway::new(Plan { config, keys: Vec::new(), ..Plan::default() });
    for host in ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:8080"] {
        let answer = gateway.send(get("/v1/assistants", "host", host)).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in ["example.com", "localhost.example.com", "192.168.0.1", "127.0.0.1.nip.io"] {
        let answer = gateway.send(get("/v1/assistants", "host", host)).await;
        assert_eq!(answer.code(), (403, "forbidden_host".into()), "{host}");
    }
    let unnamed = Request::builder().uri("/v1/assistants").body(Body::empty()).unwrap();
    assert_eq!(gateway.send(unnamed).await.code(), (403, "forbidden_host".into()));
    let answer = gateway.send_admin(get("/admin/keys", "host", "localhost")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn admin_routes_want_an_admin() {
    let gateway = Gateway::new(Plan::default());
    let call = async |secret| gateway.send_admin(request(Method::GET, "/admin/keys", secret, "")).await;
    assert_eq!(call(KEY).await.code(), (403, "admin_only".into()));
    assert_eq!(call("wrong").await.code(), (401, "invalid_key".into()));
    assert_eq!(call(ADMIN).await.status, 200);
    let bare = Request::builder().uri("/admin/keys").body(Body::empty()).unwrap();
    assert_eq!(gateway.send_admin(bare).await.code(), (401, "missing_key".into()));
    let open = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    assert_eq!(gateway.send_admin(open).await.status, 200);
    // What admins call is not served to clients, and the other way round.
    assert_eq!(gateway.send(request(Method::GET, "/admin/keys", ADMIN, "")).await.code().0, 404);
    assert_eq!(gateway.send(request(Method::GET, "/metrics", ADMIN, "")).await.code().0, 404);
    assert_eq!(gateway.send_admin(request(Method::GET, "/v1/usage", ADMIN, "")).await.code().0, 404);
}

#[tokio::test]
async fn a_token_may_less_than_its_key_and_ends_with_it() {
    let gateway = Gateway::new(Plan { keys: vec![], ..Plan::default() });
    let id: KeyId = gateway
        .vault
        .add("issues-tokens", |key| {
            key.may = [Permission::Tokens, Permission::Operator].into_iter().collect()
        })
        .await;
    let body = json!({"user": "ann", "assistants": ["docs"], "expires_in": 60}).to_string();
    let issued = gateway.send(request(Method::POST, "/v1/tokens", "issues-tokens", body.clone())).await;
    assert_eq!(issued.status, 201);
    let issued = issued.json();
    let token = issued["token"].as_str().unwrap().to_owned();
    let expires: Timestamp = issued["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires <= in_seconds(60) && expires > Timestamp::now());

    let seen = gateway.send(request(Method::GET, "/v1/assistants", &token, "")).await.json();
    assert_eq!(seen["data"].as_array().unwrap().len(), 1);
    assert_eq!(seen["data"][0]["name"], "docs");
    let again = gateway.send(request(Method::POST, "/v1/tokens", &token, body)).await;
    assert_eq!(again.code(), (403, "not_permitted".into()));
    let usage = gateway.send(request(Method::GET, "/v1/usage", &token, "")).await;
    assert_eq!(usage.code(), (403, "not_permitted".into()));
    let said = json!({"role": "operator", "text": "hi"}).to_string();
    let path = format!("/v1/conversations/{}/messages", chat::ConversationId::new());
    let operator = gateway.send(request(Method::POST, &path, &token, said)).await;
    assert_eq!(operator.code(), (403, "not_permitted".into()));
    let other = gateway.send(request(Method::DELETE, "/v1/conversations?user=bob", &token, "")).await;
    assert_eq!(other.code(), (403, "not_permitted".into()));

    gateway.vault.revoke_key(id, Timestamp::now()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let answer = gateway.send(request(Method::GET, "/v1/assistants", &token, "")).await;
        if answer.status == 401 {
            assert_eq!(answer.code().1, "invalid_key");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the token outlives its key");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tokens_are_bounded() {
    let issuer = key("issues-tokens", |spec| {
        spec.may = [Permission::Tokens].into_iter().collect();
        spec.assistants = AllowedAssistants::These(["docs".parse().unwrap()].into());
    });
    let for_all = key("issues-all", |spec| spec.may = [Permission::Tokens].into_iter().collect());
    let gateway = Gateway::new(Plan { keys: vec![issuer, for_all, key(KEY, |_| {})], ..Plan::default() });
    let wanted = async |body: serde_json::Value| {
        gateway.send(request(Method::POST, "/v1/tokens", "issues-tokens", body.to_string())).await.error()
    };
    for (body, code, param) in [
        (json!({"user": "ann", "expires_in": 0}), "invalid_value", Some("expires_in")),
        (json!({"user": "ann", "expires_in": 3601}), "invalid_value", Some("expires_in")),
        (json!({"user": "ann"}), "missing_field", Some("expires_in")),
        (json!({"expires_in": 1}), "missing_field", Some("user")),
        (json!({"user": "", "expires_in": 1}), "invalid_value", Some("user")),
        (json!({"user": "ann", "expires_in": 1, "assistants": []}), "invalid_value", Some("assistants")),
    ] {
        assert_eq!(wanted(body.clone()).await, (400, code.into(), param.map(str::to_owned)), "{body}");
    }
    let beyond = wanted(json!({"user": "ann", "expires_in": 1, "assistants": ["support"]})).await;
    assert_eq!((beyond.0, beyond.1.as_str()), (403, "assistant_not_allowed"));
    let unknown = json!({"user": "ann", "expires_in": 1, "assistants": ["nobody"]});
    let call = request(Method::POST, "/v1/tokens", "issues-all", unknown.to_string());
    let told = (404, "assistant_not_found".into(), Some("assistants".into()));
    assert_eq!(gateway.send(call).await.error(), told);
    let not_permitted = gateway.post("/v1/tokens", json!({"user": "ann", "expires_in": 1})).await;
    assert_eq!(not_permitted.code(), (403, "not_permitted".into()));
}
