//! JSON bodies whose errors say what is wrong with them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use couplet_protocol::{Code, DeviceModel, DeviceName};
use serde::de::DeserializeOwned;

use crate::problem::Failure;

/// A request's JSON body.
#[derive(Clone, Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// A body that may be absent: the default then.
#[derive(Clone, Debug)]
pub(crate) struct JsonOrEmpty<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Ok(Json(parse(&read(request, state).await?)?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrEmpty<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = read(request, state).await?;
        Ok(JsonOrEmpty(if bytes.is_empty() { T::default() } else { parse(&bytes)? }))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(Failure::internal)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // Serde would also take an array of the members' values, in the order of our source.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Failure::new(Code::MalformedBody, "Send a JSON object. /api/openapi.json describes it."));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(Code::MalformedBody, format!("Mend the body: {error}. /api/openapi.json describes it."))
    })
}

/// A device's name and model, checked.
pub(crate) fn named(name: &str, model: Option<&str>) -> Result<(DeviceName, Option<DeviceModel>), Failure> {
    let bad = |what: &str, error| Failure::new(Code::DeviceNameInvalid, format!("Change {what}: {error}."));
    Ok((
        DeviceName::parse(name).map_err(|error| bad("device_name", error))?,
        model.map(DeviceModel::parse).transpose().map_err(|error| bad("device_model", error))?,
    ))
}
