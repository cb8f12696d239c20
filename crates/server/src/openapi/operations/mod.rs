//! Every operation of the API, in the order in which the document has them. A test holds this list to `routes/mod.rs`.

mod assistants;
mod conversations;
mod dialect;
mod operators;
mod turns;

pub(super) use dialect::under_openai;

use super::operation::Operation;
use super::schemas::Schemas;

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    [
        turns::operations(schemas),
        conversations::operations(schemas),
        assistants::operations(schemas),
        dialect::operations(schemas),
        operators::operations(schemas),
    ]
    .into_iter()
    .flatten()
    .collect()
}
