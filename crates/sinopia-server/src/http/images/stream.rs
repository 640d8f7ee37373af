//! Pictures as events, while they are painted and when they are done: OpenAI's `image_generation.partial_image` and
//! `image_generation.completed`, and the same of `image_edit`.

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};

use super::super::app::App;
use super::super::jobs::{EVENTS, Events, KEEP_ALIVE};
use super::super::problem::Problem;
use super::order::{Order, Unfinished, is_done, next_event, reply};
use crate::events::Event;
use crate::queue::Queued;
use crate::store::now_ms;

/// Pictures on their way to a client.
pub(super) struct Sending {
    pub(super) order: Order,
    pub(super) unfinished: Unfinished,
    /// Unfinished pictures that are sent of each.
    pub(super) num_partial: u32,
}

impl Sending {
    /// An answer that sends events as they come.
    pub(super) fn respond(self, jobs: Vec<Queued>) -> Response {
        let (sender, receiver) = channel(EVENTS);
        tokio::spawn(self.send(jobs, sender));
        Sse::new(Events(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }

    /// Sends picture after picture until all are there, one fails, or nobody listens any more; what is not finished then is cancelled.
    async fn send(mut self, jobs: Vec<Queued>, to: Sender<sse::Event>) {
        for mut job in jobs {
            let sent = tokio::select! {
                sent = self.send_one(&mut job, &to) => sent,
                () = to.closed() => return,
            };
            if let Err(problem) = sent {
                let mut data = json!(problem.into_reply());
                data["type"] = json!("error");
                let _ = to.send(event("error", &data)).await; // unless nobody listens
                return;
            }
            self.unfinished.has_ended(&job.id);
        }
    }

    /// Sends what is seen of one picture, then the picture.
    async fn send_one(&self, job: &mut Queued, to: &Sender<sse::Event>) -> Result<(), Problem> {
        let (app, order) = (&self.unfinished.app, &self.order);
        let mut partial = Partial { wanted: self.num_partial, sent: 0, share: 0.0 };
        while !is_done(app, &job.id).await? {
            // The record is looked at again only when it may have changed.
            loop {
                match next_event(job.events.recv().await)? {
                    Event::Changed => break,
                    Event::Progress(progress) => partial.share = progress.step as f64 / progress.steps.max(1) as f64,
                    Event::Preview(address) if partial.is_due() => {
                        let kind = format!("{}.partial_image", order.kind);
                        let mut data = common(order, &kind);
                        data["b64_json"] = json!(rendered(app, order, address).await?);
                        data["partial_image_index"] = json!(partial.sent);
                        partial.sent += 1;
                        let _ = to.send(event(&kind, &data)).await; // the caller sees who is gone
                    }
                    Event::Preview(_) => {}
                }
            }
        }
        let mut whole = order.clone();
        whole.response = None;
        let kind = format!("{}.completed", order.kind);
        let mut data = common(order, &kind);
        merge(&mut data, json!(reply(app, &whole, &job.id).await?));
        // There are no tokens here; OpenAI's clients expect to read how many.
        data["usage"] = json!({
            "total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}
        });
        let _ = to.send(event(&kind, &data)).await; // likewise
        Ok(())
    }
}

/// Unfinished pictures, spread over the painting.
struct Partial {
    wanted: u32,
    sent: u32,
    /// Of the painting that is done, 0 to 1.
    share: f64,
}

impl Partial {
    fn is_due(&self) -> bool {
        self.sent < self.wanted && self.share * f64::from(self.wanted + 1) >= f64::from(self.sent + 1)
    }
}

/// What all events of a request have.
fn common(order: &Order, kind: &str) -> Value {
    let mut data = json!({"type": kind, "created_at": now_ms() / 1000, "quality": "auto"});
    merge(&mut data, json!(order.common));
    data
}

fn merge(data: &mut Value, more: Value) {
    if let (Value::Object(data), Value::Object(more)) = (data, more) {
        data.extend(more);
    }
}

/// A preview, a `data:` address, in the size and format of the picture.
async fn rendered(app: &App, order: &Order, address: String) -> Result<String, Problem> {
    let mut order = order.clone();
    (order.rendering.width, order.rendering.height) = (Some(order.size.width), Some(order.size.height));
    app.rendering(move |app| {
        let (_, png) = address.split_once(',').unwrap_or_default();
        let png = STANDARD.decode(png).map_err(|_| Problem::internal("a preview is no picture"))?;
        order.encoded(app, &png)
    })
    .await
}

fn event(name: &str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_pictures_are_spread_over_the_painting() {
        let mut partial = Partial { wanted: 3, sent: 0, share: 0.0 };
        let mut at = Vec::new();
        for step in 1..=20 {
            partial.share = f64::from(step) / 20.0;
            if partial.is_due() {
                partial.sent += 1;
                at.push(step);
            }
        }
        assert_eq!(at, [5, 10, 15]);
        assert!(!Partial { wanted: 0, sent: 0, share: 1.0 }.is_due());
    }
}
