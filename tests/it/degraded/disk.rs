//! A disk that is full: the process may write no larger files than this.

use serde_json::json;

use crate::crash::bed::Bed;

#[tokio::test]
async fn full() {
    let bed = Bed::new(&[("quick", "openai", "sim-model")], "", "").await;
    // 2 MiB a file, in units of 512 bytes; a write beyond it is refused like one to a full disk, not a reason to die.
    let mut gateway = bed.start_under("trap '' XFSZ; ulimit -f 4096").await;
    let (status, made) = gateway.post("/v1/conversations", &json!({"assistant": "quick"})).await;
    assert_eq!(status, 201);
    let path = format!("/v1/conversations/{}/messages", made["id"].as_str().unwrap());
    let mut refused = None;
    for _ in 0..200 {
        let (status, answer) =
            gateway.post(&path, &json!({"role": "user", "text": "x".repeat(100_000)})).await;
        if status != 201 {
            refused = Some((status, answer["error"]["code"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((503, json!("store_unavailable"))));
    let ask = |store: bool| json!({"assistant": "quick", "message": "y".repeat(100_000), "store": store});
    let (status, refused) = gateway.post("/v1/chat", &ask(true)).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("store_unavailable")));
    assert_eq!(gateway.post("/v1/chat", &ask(false)).await.0, 200);
    // What is kept can be read.
    assert_eq!(gateway.get(&path).await.0, 200);
    // With room again, nothing that was accepted is gone.
    let before = gateway.messages(made["id"].as_str().unwrap()).await.len();
    gateway.kill().await;
    let gateway = bed.start().await;
    assert_eq!(gateway.messages(made["id"].as_str().unwrap()).await.len(), before);
    assert_eq!(gateway.post("/v1/chat", &ask(true)).await.0, 200);
}
