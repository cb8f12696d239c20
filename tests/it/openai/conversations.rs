//! `/openai/v1/conversations`: the native conversations in OpenAI's form.

use http::Method;
use serde_json::{Value, json};

use super::{Stage, error};
use crate::gateway::{ADMIN, KEY, request};

#[tokio::test]
async fn a_conversation_is_made_changed_and_erased() {
    let stage = Stage::open().await;
    let path = "/openai/v1/conversations";
    let items = json!([{"type": "message", "role": "user", "content": "one"}, {"role": "assistant", "content": [{"type": "output_text", "text": "two"}]}]);
    let made = stage.gateway.post(path, json!({"items": items, "metadata": {"a": "b"}})).await;
    assert_eq!(made.status, 200);
    let made = made.json();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        made,
        json!({"id": id, "object": "conversation", "created_at": made["created_at"], "metadata": {"a": "b"}})
    );
    let one = format!("{path}/{id}");
    assert_eq!(
        stage.gateway.post(&one, json!({"metadata": {"c": "d"}})).await.json()["metadata"],
        json!({"c": "d"})
    );
    assert_eq!(stage.gateway.get(&one).await.json()["metadata"], json!({"c": "d"}));
    assert_eq!(
        stage.gateway.get(&format!("/v1/conversations/{id}")).await.json()["message_count"],
        2,
        "the native one is the same"
    );

    let listed = stage.gateway.get(&format!("{one}/items?order=asc")).await.json();
    let data = listed["data"].as_array().unwrap();
    assert_eq!(data[0]["content"], json!([{"type": "input_text", "text": "one"}]));
    assert_eq!(
        data[1]["content"],
        json!([{"type": "output_text", "text": "two", "annotations": [], "logprobs": []}])
    );
    assert_eq!(
        (&listed["first_id"], &listed["last_id"], &listed["has_more"]),
        (&data[0]["id"], &data[1]["id"], &json!(false))
    );
    let newest = stage.gateway.get(&format!("{one}/items?limit=1")).await.json();
    assert_eq!((&newest["data"][0]["id"], &newest["has_more"]), (&data[1]["id"], &json!(true)));
    let rest = stage
        .gateway
        .get(&format!("{one}/items?limit=1&after={}", data[1]["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!((&rest["data"][0]["id"], &rest["has_more"]), (&data[0]["id"], &json!(false)));

    let answer = stage
        .gateway
        .post("/openai/v1/responses", json!({"model": "docs", "conversation": {"id": id}, "input": "three"}))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(stage.docs.last_history(), ["one", "two"]);

    let added = stage
        .gateway
        .post(&format!("{one}/items"), json!({"items": [{"role": "user", "content": "later"}]}))
        .await
        .json();
    let item = format!("{one}/items/{}", added["data"][0]["id"].as_str().unwrap());
    assert_eq!(stage.gateway.get(&item).await.json(), added["data"][0]);
    let kept = stage.gateway.send(request(Method::DELETE, &item, KEY, "")).await;
    assert_eq!(error(&kept).0, 422, "our store erases conversations, not messages");
    assert_eq!(error(&stage.gateway.get(&format!("{one}/items/msg_1")).await).0, 404);
    assert_eq!(
        error(&stage.gateway.get(&format!("{one}/items?after=msg_1")).await),
        (400, "invalid_request".into(), "invalid_value".into(), json!("after"))
    );

    let erased = stage.gateway.send(request(Method::DELETE, &one, KEY, "")).await.json();
    assert_eq!(erased, json!({"id": id, "object": "conversation.deleted", "deleted": true}));
    assert_eq!(error(&stage.gateway.get(&one).await).0, 404);
}

#[tokio::test]
async fn system_items_need_what_the_native_ones_need() {
    let stage = Stage::open().await;
    let body = json!({"items": [{"role": "developer", "content": "be short"}]}).to_string();
    let path = "/openai/v1/conversations";
    let refused = stage.gateway.send(request(Method::POST, path, KEY, body.clone())).await;
    assert_eq!((error(&refused).0, error(&refused).2.as_str()), (403, "not_permitted"));
    let made = stage.gateway.send(request(Method::POST, path, ADMIN, body)).await;
    assert_eq!(made.status, 200);
    assert_eq!(
        stage.gateway.get("/v1/conversations").await.json()["data"].as_array().unwrap().len(),
        1,
        "nothing was made in vain"
    );
    assert_eq!(stage.gateway.post(path, Value::Object(serde_json::Map::new())).await.status, 200);
}
