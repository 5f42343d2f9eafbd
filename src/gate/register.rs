//! Who holds a credential: what a door needs of the gallery, as a door to it.

use super::door::{Lease, Lookup, Person};
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::event::{CredentialText, PersonRef, Purpose};
use crate::face::Template;
use crate::gallery::audit::{Action, Note};
use crate::gallery::{Actor, Gallery, Holder, Standing};

/// What is known of a credential, and the template of its holder.
pub struct Found<T> {
    /// The answer.
    pub lookup: Lookup,
    /// The holder's template, only if the answer is a holder who has one.
    pub template: Option<T>,
}

/// Who holds what. The gallery is one.
pub trait Register: Send + Sync + 'static {
    /// What stands for a face.
    type Template: Send + 'static;

    /// Who holds `credential` now. Asked on a thread that may block; an error means that nothing is
    /// known now, which is not the same as nobody.
    fn holder(&self, credential: &CredentialText) -> Result<Found<Self::Template>>;

    /// How a person's entry stands now: asked again when a decision is taken, because a lease may
    /// end while somebody stands at the door. Does not block.
    fn lease(&self, person: &str) -> Lease;

    /// Whether a person is in the register at all. Does not block.
    fn knows(&self, person: &str) -> bool;

    /// Notes that a person was recognised at a door, for the audit log. What cannot be noted is not
    /// done. Does not block.
    fn recognised(&self, person: &str, door: &Name) -> Result<()>;

    /// Whether the register can be asked.
    fn ready(&self) -> Result<()>;
}

fn person(holder: &Holder) -> Person {
    Person {
        reference: holder.person.as_str().to_owned(),
        lease: lease(holder.standing),
        until: holder.until,
        in_hours: holder.standing != Standing::OutOfHours,
        has_template: holder.standing != Standing::Awaiting,
    }
}

fn lease(standing: Standing) -> Lease {
    match standing {
        Standing::Valid | Standing::OutOfHours | Standing::Awaiting => Lease::Runs,
        Standing::NotYet => Lease::NotBegun,
        Standing::Expired => Lease::Over,
        Standing::Revoked => Lease::Revoked,
    }
}

impl Register for Gallery {
    type Template = Template;

    fn holder(&self, credential: &CredentialText) -> Result<Found<Template>> {
        // Whoever is looked for is in the gallery to be found, not to open doors.
        let found = self.resolve(credential)?.filter(|h| h.purpose != Purpose::MissingPerson);
        let Some(holder) = found else { return Ok(Found { lookup: Lookup::Unknown, template: None }) };
        let template = self.template(holder.entry);
        let person = person(&holder);
        // Between the two an entry may have ended; without a template nobody is compared.
        let has_template = person.has_template && (template.is_some() || holder.standing != Standing::Valid);
        Ok(Found { lookup: Lookup::Holder(Person { has_template, ..person }), template })
    }

    fn lease(&self, person: &str) -> Lease {
        let holder = PersonRef::new(person).ok().and_then(|person| self.holder_of(&person));
        holder.map_or(Lease::Revoked, |h| lease(h.standing))
    }

    fn knows(&self, person: &str) -> bool {
        PersonRef::new(person).is_ok_and(|person| self.holder_of(&person).is_some())
    }

    fn recognised(&self, person: &str, door: &Name) -> Result<()> {
        let by = Actor::new(format!("door:{door}")).unwrap_or_else(|_| Actor::system());
        self.record_soon(Some(&PersonRef::new(person)?), Note::new(Action::Match, &by))
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// The register of a box without a gallery: it cannot be asked.
#[derive(Clone, Copy, Debug)]
pub struct NoRegister;

impl NoRegister {
    fn none<T>() -> Result<T> {
        Err(Error::new(Kind::Unavailable, Culprit::Config, "this box has no gallery")
            .remedy("add [gallery], and enrol the people who may pass"))
    }
}

impl Register for NoRegister {
    type Template = Template;

    fn holder(&self, _: &CredentialText) -> Result<Found<Template>> {
        Self::none()
    }

    fn lease(&self, _: &str) -> Lease {
        Lease::Revoked
    }

    fn knows(&self, _: &str) -> bool {
        true
    }

    fn recognised(&self, _: &str, _: &Name) -> Result<()> {
        Self::none()
    }

    fn ready(&self) -> Result<()> {
        Self::none()
    }
}
