use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::blotter::Blotter;
use crate::failure::Words;

/// Raw text is text; `WHOLE`, `LAST` and `BAD` as the last word of a piece are what they say.
struct Plain {
    clean_end: Step,
}

impl Decoder for Plain {
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        let text = match item {
            Item::Text(text) => text,
            Item::Json(body) => String::from_utf8(body.to_vec()).unwrap(),
            Item::Frame(frame) => frame.data,
        };
        let (text, step) = match text.split_once(' ') {
            Some((text, "WHOLE")) => (text, Step::Whole),
            Some((text, "LAST")) => (text, Step::Last),
            _ if text == "BAD" => return Err(Failure::Failed.into()),
            _ => (text.as_str(), Step::Open),
        };
        pieces.push(Piece::Text(text.to_owned()));
        Ok(step)
    }

    fn end(&mut self, _: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        Ok(self.clean_end)
    }
}

/// The pieces of an answer, shown: `a, b, End`.
async fn read(clean_end: Step, body: Vec<Result<&'static str, upstream::Failure>>, hangs: bool) -> String {
    let driver = Driver {
        judge: Judge::new(
            Blotter::new(&[], Some(&"sk-live-12345".into())),
            crate::failure::RefusalCodes::default(),
            |_, _| Words::default(),
        ),
        health: Arc::default(),
        stream: true,
        bytes_max: 1000,
        request_id: None,
        again: None,
    };
    let body =
        stream::iter(body.into_iter().map(|piece| piece.map(|text| Bytes::from_static(text.as_bytes()))));
    let body = if hangs { Body::new(body.chain(stream::pending())) } else { Body::new(body) };
    let response = Response::new(StatusCode::OK, HeaderMap::new(), body);
    let mut stream = driver.run(response, vec![], Box::new(Plain { clean_end }));
    let mut shown = Vec::new();
    while let Some(piece) = stream.next().await {
        shown.push(match piece {
            Ok(Piece::Text(text)) => text,
            Ok(Piece::End(_)) => "End".to_owned(),
            Ok(piece) => format!("{piece:?}"),
            Err(error) => format!("{:?} {:?}", error.failure, error.status),
        });
    }
    assert!(stream.next().await.is_none());
    shown.join(", ")
}

#[tokio::test]
async fn a_reply_ends_once_and_only_a_whole_one_ends_well() {
    let broken = || Err(upstream::Failure::Broken);
    assert_eq!(read(Step::Whole, vec![Ok("a"), Ok("b")], false).await, "a, b, End");
    assert_eq!(read(Step::Open, vec![Ok("a"), Ok("b")], false).await, "a, b, Protocol Some(200)");
    assert_eq!(read(Step::Whole, vec![Ok("a"), broken()], false).await, "a, Broken Some(200)");
    assert_eq!(read(Step::Open, vec![Ok("a WHOLE"), broken()], false).await, "a, End");
    assert_eq!(read(Step::Open, vec![Ok("a WHOLE"), Ok("BAD")], false).await, "a, End");
    assert_eq!(read(Step::Open, vec![Ok("a LAST"), Ok("b")], false).await, "a, End");
    assert_eq!(read(Step::Open, vec![Ok("a"), Ok("BAD"), Ok("b")], false).await, "a, Failed Some(200)");
    assert_eq!(read(Step::Whole, vec![], false).await, "Empty Some(200)");
    assert_eq!(read(Step::Open, vec![], false).await, "Empty Some(200)");
    assert_eq!(read(Step::Whole, vec![Ok("<html>")], false).await, "Protocol Some(200)");
    assert_eq!(read(Step::Whole, vec![Ok("{}")], false).await, "Emulated(Stream), {}, End");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_the_keys_beginning_is_given_when_nothing_follows() {
    assert_eq!(read(Step::Open, vec![Ok("a sk-li"), Ok("sk- WHOLE")], true).await, "a , sk-li, sk-, End");
    assert_eq!(
        read(Step::Open, vec![Ok("sk-live"), Err(upstream::Failure::Broken)], false).await,
        "sk-live, Broken Some(200)"
    );
    assert_eq!(read(Step::Whole, vec![Ok("sk-live"), Ok("-12345")], false).await, "[secret], End");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_said_all_may_forget_to_hang_up() {
    assert_eq!(read(Step::Open, vec![Ok("a WHOLE")], true).await, "a, End");
}
