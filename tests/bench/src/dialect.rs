//! What the stand-in says, in each provider's own form. Written from the simulator's defaults.

/// How many bytes of text one piece has.
pub(crate) const PIECE_BYTES: usize = 48;

/// The text of a piece: its number, when it was written, and something to fill it.
pub(crate) fn piece(text: &mut String, number: usize, nanos: u128) {
    use std::fmt::Write as _;
    // Writing into a string does not fail.
    let _ = write!(text, "{number:06} {nanos:019} words to fill a piece");
}

/// The text of a whole answer: about a kilobyte.
pub(crate) fn whole_text() -> String {
    "An answer of about one kilobyte, the same each time, so that it can be compared. ".repeat(12)
}

/// One provider's wire form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// The provider's `kind`.
    pub(crate) kind: &'static str,
    /// Its further settings in the configuration.
    pub(crate) settings: &'static str,
    /// What stands before and behind the text in a whole answer.
    whole: (&'static str, &'static str),
    /// Events before the first piece.
    begin: &'static str,
    /// What stands before and behind a piece's text.
    around: (&'static str, &'static str),
    /// What stands before and behind the whole text at the stream's end, or the end alone where the text is not repeated.
    end: (&'static str, Option<&'static str>),
    /// The status of a whole answer.
    pub(crate) status: &'static str,
}

const CHUNK: (&str, &str) = (
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"stand-in\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
    "\"},\"finish_reason\":null}]}\n\n",
);
const CHUNKS_END: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"stand-in\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":250,\"total_tokens\":500}}\n\ndata: [DONE]\n\n";
const COMPLETION: (&str, &str) = (
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"stand-in\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
    "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":250,\"total_tokens\":500}}",
);

/// All of them; `openai` first.
pub(crate) const DIALECTS: [Dialect; 5] = [
    Dialect {
        kind: "openai",
        settings: "",
        whole: COMPLETION,
        begin: "",
        around: CHUNK,
        end: (CHUNKS_END, None),
        status: "200 OK",
    },
    Dialect {
        kind: "gptunnel",
        settings: "stream_upstream = true",
        whole: COMPLETION,
        begin: "",
        around: CHUNK,
        end: (CHUNKS_END, None),
        status: "200 OK",
    },
    Dialect {
        kind: "mygptassistants",
        settings: "",
        whole: (
            "{\"success\":true,\"data\":{\"response\":\"",
            "\",\"conversationId\":\"conv_1\",\"messageId\":\"msg_1\"}}",
        ),
        begin: "",
        around: ("event: chunk\ndata: {\"message\":\"", "\"}\n\n"),
        end: (
            "event: result\ndata: {\"bot\":{\"text\":\"",
            Some(
                "\",\"sourceDocuments\":[]},\"history\":[],\"conversationId\":\"conv_1\",\"messageId\":\"msg_1\"}\n\n",
            ),
        ),
        status: "200 OK",
    },
    Dialect {
        kind: "unleash",
        settings: "",
        whole: (
            "{\"type\":\"Full\",\"requestId\":\"r1\",\"message\":{\"role\":\"Assistant\",\"parts\":[{\"type\":\"Text\",\"format\":\"markdown\",\"text\":\"",
            "\"}]},\"resources\":[],\"references\":[]}",
        ),
        begin: "data: {\"type\":\"Request\",\"requestId\":\"r1\"}\n\ndata: {\"type\":\"Progress\",\"code\":\"file_search\"}\n\n",
        around: (
            "data: {\"type\":\"Message\",\"message\":{\"role\":\"Assistant\",\"parts\":[{\"type\":\"Text\",\"format\":\"markdown\",\"text\":\"",
            "\"}]}}\n\n",
        ),
        end: (
            "data: {\"type\":\"Full\",\"requestId\":\"r1\",\"message\":{\"role\":\"Assistant\",\"parts\":[{\"type\":\"Text\",\"format\":\"markdown\",\"text\":\"",
            Some("\"}]},\"resources\":[],\"references\":[]}\n\n"),
        ),
        status: "200 OK",
    },
    Dialect {
        kind: "gigachat",
        settings: "",
        whole: (
            "{\"id\":\"7c4e187d-27e4-4922-a54c-750d6a92d5a2\",\"message\":\"",
            "\",\"created_at\":\"2026-01-01T00:00:00.00000+00:00\"}",
        ),
        begin: "",
        around: CHUNK,
        end: (CHUNKS_END, None),
        status: "201 Created",
    },
];

impl Dialect {
    /// A whole answer.
    pub(crate) fn whole(&self, text: &str) -> String {
        format!("{}{text}{}", self.whole.0, self.whole.1)
    }

    /// What a stream begins with, or nothing.
    pub(crate) fn begin(&self) -> &'static str {
        self.begin
    }

    /// Appends the event of a piece.
    pub(crate) fn event(&self, out: &mut Vec<u8>, text: &str) {
        out.extend_from_slice(self.around.0.as_bytes());
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(self.around.1.as_bytes());
    }

    /// Whether a stream's end repeats the whole text.
    pub(crate) fn repeats(&self) -> bool {
        self.end.1.is_some()
    }

    /// What a stream ends with.
    pub(crate) fn end(&self, text: &str) -> String {
        match self.end {
            (before, Some(behind)) => format!("{before}{text}{behind}"),
            (end, None) => end.to_owned(),
        }
    }
}
