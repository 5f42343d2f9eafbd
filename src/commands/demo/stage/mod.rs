//! A stage for cameras without a camera: people out of photographs stand before a moving, noisy
//! picture of a lobby, and the picture is served as a network camera does it.
//!
//! ```no_run
//! use vigil::commands::demo::stage::{Camera, Likeness, Person, Reel, Set, cast};
//! # fn main() -> vigil::base::Result<()> {
//! let set = Set::new(1280, 720, 7);
//! let photo = Person::open("photo.jpg".as_ref(), &Likeness::from_eyes((443.0, 213.0), (548.0, 211.0)))?;
//! let camera = Camera::start("127.0.0.1:0", Reel::empty(&set)?)?;
//! camera.show(Reel::visit(&set, &photo)?);
//! println!("{}", camera.url());
//! # Ok(())
//! # }
//! ```
//!
//! Used by `vigil demo`, by tests and by benchmarks. The same seed gives the same pictures.

mod camera;
pub mod cast;
mod scene;

pub use camera::Camera;
pub use scene::{FPS, Likeness, Person, Pose, Reel, Set};
