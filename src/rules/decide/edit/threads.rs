//! Hand edits of threads: emits what `thread reply` writes.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::Value;

use super::entries::{known, refuse_gone};
use super::plain::reference;
use super::{Doc, Edit, EditResult, check_entry, content as said, misfit};
use crate::error::{Error, Result};
use crate::model::args::{Patch, Ref, Text, ThreadRef};
use crate::model::command::{Proposal, ThreadReply};
use crate::model::id::HANDLE_MIN;
use crate::model::message_args::ThreadMessage;
use crate::rules::copies::HAND_EDIT;
use crate::rules::decide::threads::reply_in;
use crate::rules::stage::Part;

const KEY: &str = "threads";
const KEYS: &[&str] = &["thread", "parent", "author", "body", "patch", "created_at"];

impl Edit<'_> {
    /// Adds answers. A message that is there cannot change, and a thread is opened and resolved by a command.
    pub(super) fn threads(&mut self) -> EditResult {
        if !self.is_changed(KEY) {
            return Ok(());
        }
        let (old, new) = self.lists(KEY);
        refuse_gone(&old, &new, "a thread or message cannot be removed").map_err(misfit(KEY, None))?;
        for (n, entry) in new.iter().enumerate() {
            let at = misfit(KEY, Some(n));
            match known(&old, entry).map_err(&at)? {
                Some(was) if was == entry => {}
                Some(_) => {
                    let refused = Error::validation("a thread or message cannot be changed by hand, only answered");
                    let hint =
                        "restore it; add an answer as - thread: ID and body: TEXT; agentpm thread resolve decides";
                    return Err(at(refused.hint(hint)));
                }
                None => self.answer(entry).map_err(&at)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, entry: &Value) -> Result<()> {
        let nothing = Doc::new();
        let (map, body) = match entry {
            Value::Object(map) => (map, said(map.get("body"))?),
            other => (&nothing, said(Some(other))?),
        };
        check_entry(map, KEYS)?;
        self.check_recorded(map, None, &["created_at"], &["author"])?;
        let named = |key: &str| map.get(key).filter(|value| !value.is_null());
        let thread = match named("thread") {
            Some(thread) => reference(thread)?,
            None => self.open_thread()?,
        };
        let (task, id) = self.stage.part(&thread, Part::Thread)?;
        if task != self.id {
            return Err(Error::validation(format!("thread {id} belongs to task {task}"))
                .hint("answer it in the file of that task, or with agentpm thread reply"));
        }
        let reply = ThreadReply {
            what: ThreadMessage { thread: ThreadRef(id.to_string()), body: Text(body) },
            parent: named("parent").map(reference).transpose()?,
            proposal: Proposal { patch: named("patch").cloned().map(Patch), set: Vec::new() },
        };
        reply_in(self.stage, &reply, Some(HAND_EDIT.to_owned())).map(|_| ())
    }

    /// The thread that an answer without a name means.
    fn open_thread(&mut self) -> Result<Ref> {
        let task = self.stage.task(self.id)?;
        let open: Vec<String> = task
            .threads
            .values()
            .filter(|thread| thread.is_open())
            .map(|thread| thread.id.handle(HANDLE_MIN))
            .collect();
        match &open[..] {
            [one] => Ok(Ref(one.clone())),
            [] => Err(Error::state("no thread of the task is open")
                .hint(format!("remove the entry; agentpm thread open {} opens a thread", self.id))),
            several => Err(Error::validation("the answer does not name its thread")
                .hint(format!("write thread: and one of {}", several.join(", ")))),
        }
    }
}
