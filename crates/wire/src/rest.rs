//! Bodies of `/api/v1`, by noun.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /users` · `POST /users` · `PATCH /users/{id}` · `DELETE /users/{id}` | [`NewUser`], [`EditUser`] | [`User`] |
//! | `PUT /users/{id}/password` | [`Password`] | none |
//! | `GET /hosts` · `POST /hosts` · `PATCH /hosts/{id}` | [`NewHost`], [`EditHost`] | [`Host`] |
//! | `GET /osfs` · `POST /osfs` · `PATCH /osfs/{id}` · `DELETE /osfs/{id}` | [`NewOsf`], [`EditOsf`] | [`Osf`] |
//! | `GET /dis` · `DELETE /dis/{id}` | none | [`Di`] |
//! | `POST /dis?osf=NAME&file=NAME&version=&sha256=` (or `osf_id=`) | the archive | [`NewDi`] |
//! | `PUT /dis/{id}/tags/{tag}` · `DELETE /dis/{id}/tags/{tag}` | none | [`Di`] |
//! | `GET /vms` · `POST /vms` · `PATCH /vms/{id}` · `DELETE /vms/{id}` | [`NewVm`], [`EditVm`] | [`Vm`], [`DeletedVm`] |
//! | `GET /vms/{id}?wait=STATE&timeout=SECONDS` · `POST /vms/{id}/start` · `POST /vms/{id}/stop` | none | [`Vm`] |
//! | `GET /vms/{id}/why` | none | [`Why`] |
//! | `GET /configs` · `PATCH /configs` | a map of key to value, or to null for "as if never set" | [`Config`], [`ChangedConfigs`] |
//! | `GET /ssl` · `PUT /ssl` | [`NewSsl`] | [`Ssl`] |
//! | `GET /operations` · `GET /audit` · `GET /status` | none | [`Operation`], [`Audit`], [`Status`] |
//!
//! A list takes `?filter=key=value,key2=va*` (see `qa OBJECT list --help` for the keys) and is an
//! array in the order of ids. What goes wrong is a [`Problem`]. Moments are milliseconds since
//! 1970-01-01 00:00 UTC. Unknown fields of a request are refused. `If-Match` is obeyed by `start` and
//! `stop` of a VM, with the `ETag` that each answer with a single VM has; elsewhere it is refused.

mod config;
mod di;
mod host;
mod operation;
mod osf;
mod problem;
mod user;
mod vm;

pub use config::{ChangedConfigs, Config, NewSsl, Ssl, Status};
pub use di::{Di, ImageKind, NewDi, WaysIn};
pub use host::{EditHost, Host, NewHost};
pub use operation::{Audit, Operation};
pub use osf::{EditOsf, NewOsf, Osf};
pub use problem::{PROBLEM_TYPE, Problem};
pub use user::{EditUser, NewUser, Password, User};
pub use vm::{DeletedVm, EditVm, NewVm, Reason, Vm, Why};
