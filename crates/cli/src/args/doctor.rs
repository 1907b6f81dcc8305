//! `couplet doctor`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use couplet_protocol::api::Part;

use super::{Json, Settings};

/// `couplet doctor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Doctor {
    /// Look at this part alone; may repeat
    #[arg(long, value_name = "PART", value_parser = part())]
    pub(crate) only: Vec<Part>,
    #[command(flatten)]
    pub(crate) json: Json,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

fn part() -> impl TypedValueParser<Value = Part> {
    PossibleValuesParser::new(Part::ALL.map(Part::name))
        .try_map(|name| Part::ALL.into_iter().find(|part| part.name() == name).ok_or("there is no such part"))
}
