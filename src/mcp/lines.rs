//! Messages on standard input and output, each a line of JSON.
//!
//! Guarantees that a line which is no message is answered, with its id where that can be read, and that the end of the input is
//! noticed while calls still run.
//! Leaves to others: what a message means (the library).

use std::fmt;
use std::io;
use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Stdout};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::model::json;

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// The code of a request that its sender cancelled, or left. It is not sent: an official client fails on an answer that comes after it left.
const CANCELLED: ErrorCode = ErrorCode(-32800);

type Message = RxJsonRpcMessage<RoleServer>;
type Output = Arc<Mutex<Stdout>>;

/// The connection to a client.
pub(super) struct Lines {
    messages: mpsc::Receiver<Message>,
    output: Output,
    gone: CancellationToken,
}

impl Lines {
    /// Standard input and output. The end of the input cancels `gone`; `gone` ends the connection.
    pub(super) fn stdio(gone: CancellationToken) -> Self {
        let output = Arc::new(Mutex::new(tokio::io::stdout()));
        let (found, messages) = mpsc::channel(1);
        let (answers, ended) = (Arc::clone(&output), gone.clone().drop_guard());
        tokio::spawn(async move {
            let read = read(BufReader::new(tokio::io::stdin()), &found, &answers).await;
            read.unwrap_or_else(|e| tracing::warn!(error = %e, "the connection failed"));
            drop(ended);
        });
        Lines { messages, output, gone }
    }
}

impl Transport<RoleServer> for Lines {
    type Error = io::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let is_wanted = !matches!(&message, TxJsonRpcMessage::<RoleServer>::Error(e) if e.error.code == CANCELLED);
        let output = Arc::clone(&self.output);
        async move { if is_wanted { write(&output, &message).await } else { Ok(()) } }
    }

    async fn receive(&mut self) -> Option<Message> {
        tokio::select! {
            biased;
            message = self.messages.recv() => message,
            () = self.gone.cancelled() => None,
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.flush().await
    }
}

async fn write(output: &Output, message: &TxJsonRpcMessage<RoleServer>) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut output = output.lock().await;
    output.write_all(&line).await?;
    output.flush().await
}

/// The end of a request whose sender wants no answer any more.
pub(super) fn cancelled() -> ErrorData {
    ErrorData::new(CANCELLED, "the request was cancelled", None)
}

/// Reads until the input ends or no more messages are wanted.
async fn read(
    mut input: impl AsyncBufRead + Send + Unpin,
    found: &mpsc::Sender<Message>,
    answers: &Output,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut input).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        let read = if line.ends_with(b"\n") {
            message(&line)
        } else if line.len() < MAX_LINE {
            // What ends before its line does was not sent whole.
            return Ok(());
        } else {
            Err(ErrorData::invalid_request(format!("the line is longer than {MAX_LINE} bytes"), None))
        };
        match read {
            Ok(Some(message)) => {
                if found.send(message).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err(error) => {
                if let Some(refusal) = refusal(&line, error) {
                    write(answers, &refusal).await?;
                }
            }
        }
        while line.last().is_some_and(|end| *end != b'\n') {
            line.clear();
            (&mut input).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        }
    }
}

/// The message of a line; `None` for an empty line.
///
/// Errors: why it is no message.
fn message(line: &[u8]) -> Result<Option<Message>, ErrorData> {
    let unreadable = |why: &dyn fmt::Display| ErrorData::parse_error(format!("the line cannot be read: {why}"), None);
    let text = std::str::from_utf8(line).map_err(|e| unreadable(&e))?;
    // A mark of the byte order is no part of the text (RFC 8259, 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let value = json::parse(text).map_err(|e| unreadable(&e))?;
    let invalid = |_| ErrorData::invalid_request("the line is no message of the protocol", None);
    serde_json::from_value(value).map(Some).map_err(invalid)
}

/// The answer to a line that is no message; `None` for a notification, which has no answer.
fn refusal(line: &[u8], error: ErrorData) -> Option<TxJsonRpcMessage<RoleServer>> {
    tracing::debug!(error = %error.message, "no message");
    let mut head = Head::default();
    // Fails where the line does: what was read before counts.
    let _ = serde_json::Deserializer::from_slice(line).deserialize_map(&mut head);
    let is_notification = head.is_whole && head.has_method && !head.has_id;
    (!is_notification).then(|| TxJsonRpcMessage::<RoleServer>::error(error, head.id))
}

/// What can be read of an object that is no message as a whole.
#[derive(Default)]
struct Head {
    id: Option<RequestId>,
    has_id: bool,
    has_method: bool,
    is_whole: bool,
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            if key == "id" {
                self.has_id = true;
                self.id = serde_json::from_value(members.next_value::<Value>()?).ok();
            } else {
                self.has_method |= key == "method";
                members.next_value::<IgnoredAny>()?;
            }
        }
        self.is_whole = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(line: &str) -> Value {
        json!(refusal(line.as_bytes(), message(line.as_bytes()).unwrap_err()))
    }

    #[test]
    fn a_line_that_is_no_message_is_refused_under_its_id() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        for (line, code, id) in [
            (format!(r#"{{"jsonrpc":"2.0","method":"ping","params":{{"a":{deep}}},"id":"x"}}"#), -32700, json!("x")),
            (r#"{"jsonrpc":"2.0","params":{"a":"\ud800"},"id":7,"method":"ping"}"#.into(), -32700, json!(7)),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"a":2}}"#.into(), -32700, json!(7)),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/ca"#.into(), -32700, json!(7)),
            (r#"{"jsonrpc":"2.0","id":7}"#.into(), -32600, json!(7)),
            ("{".into(), -32700, Value::Null),
            ("[]".into(), -32600, Value::Null),
        ] {
            let answer = answer(&line);
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{line}: {answer}");
        }
    }

    #[test]
    fn a_notification_and_an_empty_line_have_no_answer() {
        assert_eq!(answer(r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1,"a":2}}"#), Value::Null);
        assert!(message(b"\r\n").unwrap().is_none());
        assert!(message("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n".as_bytes()).unwrap().is_some());
    }
}
