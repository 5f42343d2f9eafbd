//! Orders about the gallery, from the hub and from the desk. Whoever gives one was found to be allowed to.

use std::sync::{Arc, Mutex};

use crate::auth::{Caller, Signer};
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{CommandName, Config};
use crate::desk::{GalleryAnswer, GalleryAsk};
use crate::event::{GalleryDone, GalleryPut, Reply};
use crate::gallery::{Actor, Denied, Gallery, Order, Outcome, Studio};
use crate::gate::read_object;
use crate::infer::{Manifest, Runtime};

/// The gallery, and the one who makes templates for it.
#[derive(Clone)]
pub(super) struct People {
    gallery: Gallery,
    studio: Arc<Mutex<Studio>>,
}

impl People {
    /// Opens the models that look at photographs.
    pub(super) fn open(
        gallery: Gallery,
        runtime: &Runtime,
        manifest: &Manifest,
        config: &Config,
    ) -> Result<Self> {
        let studio = Studio::open(runtime, manifest, &config.inference, &config.verify.quality)?;
        Ok(Self { gallery, studio: Arc::new(Mutex::new(studio)) })
    }

    pub(super) fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Carries out an order of the hub; takes the time that photographs and the disk take.
    fn order(&self, command: CommandName, body: &[u8], signer: &Signer, correlation: &str) -> Result<Reply> {
        // The bus has bounded the command, and the envelope around it, before.
        let max = body.len();
        let order = order_of(signer)?;
        Ok(match command {
            CommandName::GalleryPut => {
                let put: GalleryPut = read_object(body, max, false)?;
                Reply::gallery(correlation, self.gallery.carry_out_put(&put, &order, &mut *self.studio())?)
            }
            CommandName::GalleryRevoke => {
                let revoke = read_object(body, max, false)?;
                Reply::gallery(correlation, self.gallery.revoke_ordered(&revoke, &order)?)
            }
            CommandName::GalleryList => {
                let list = read_object(body, max, false)?;
                Reply::page(correlation, self.gallery.list(&list, &order.source)?)
            }
            other => return Err(Error::internal(format!("{other} is no order about the gallery"))),
        })
    }

    fn studio(&self) -> std::sync::MutexGuard<'_, Studio> {
        // Its buffers are overwritten before every use.
        self.studio.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What the desk asks, in the name of the token's holder.
    fn ask(&self, ask: GalleryAsk, caller: &Caller) -> Result<GalleryAnswer> {
        let by = match &caller.name {
            Some(name) => Actor::new(format!("desk:{name}"))?,
            None => return Err(Error::internal("somebody without a token asked about the gallery")),
        };
        let changed = |outcome| match outcome {
            Ok(Outcome { change, entry }) => Ok(GalleryAnswer::Done(GalleryDone {
                change,
                entry,
                refused: None,
                repeated: change.is_none(),
            })),
            Err(Denied::Refused(refusal)) => Ok(GalleryAnswer::Done(GalleryDone {
                change: None,
                entry: None,
                refused: Some(refusal.reason),
                repeated: false,
            })),
            Err(Denied::Failed(e)) => Err(e),
        };
        match ask {
            GalleryAsk::Put(put) => {
                let enrolment = self.gallery.enrolment_of(&put, &mut *self.studio());
                changed(enrolment.and_then(|e| self.gallery.put(&e, &by)))
            }
            GalleryAsk::Revoke(revoke) => changed(self.gallery.revoke(&revoke, &by)),
            GalleryAsk::List(list) => self.gallery.list(&list, &by).map(GalleryAnswer::Page),
        }
    }
}

fn order_of(signer: &Signer) -> Result<Order> {
    Ok(Order {
        source: Actor::new(format!("hub:{}", signer.key))?,
        seq: signer.counter,
        digest: signer.digest,
    })
}

fn none() -> Error {
    Error::new(Kind::NotFound, Culprit::Request, "this box has no gallery")
        .remedy("add [gallery] to its configuration")
}

/// Runs `f` off the network's threads.
async fn apart<T: Send + 'static>(
    people: Option<&People>,
    f: impl FnOnce(&People) -> Result<T> + Send + 'static,
) -> Result<T> {
    let people = people.ok_or_else(none)?.clone();
    let done = tokio::task::spawn_blocking(move || f(&people)).await;
    done.unwrap_or_else(|_| Err(Error::internal("an order about the gallery failed")))
}

/// Carries out a signed order.
pub(super) async fn order(
    people: Option<&People>,
    command: CommandName,
    body: zeroize::Zeroizing<Vec<u8>>,
    signer: Signer,
    correlation: String,
) -> Result<Reply> {
    apart(people, move |people| people.order(command, &body, &signer, &correlation)).await
}

/// What came of an order that was delivered a second time, if it was carried out.
pub(super) async fn answered(people: Option<&People>, signer: Signer) -> Option<GalleryDone> {
    apart(people, move |people| people.gallery.seen(&order_of(&signer)?)).await.ok().flatten()
}

/// What the desk asks.
pub(super) async fn ask(people: Option<&People>, ask: GalleryAsk, caller: Caller) -> Result<GalleryAnswer> {
    apart(people, move |people| people.ask(ask, &caller)).await
}
