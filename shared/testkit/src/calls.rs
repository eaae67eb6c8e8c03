//! Calls made from descriptors, with JSON: so that a test can make every call there is.

use bytes::{Buf, BufMut, Bytes};
use clientele_api::DESCRIPTORS;
use futures::Stream;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use std::str::FromStr;
use std::sync::LazyLock;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// Read once: that takes tens of milliseconds, which a test that calls often would take from its own server.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap());

/// The reason that a refusal carries. Every refusal carries one.
pub fn reason(status: &Status) -> String {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("an error without ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "clientele", "{status:?}");
    info.reason
}

/// The headers that a call is made with.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The bearer token.
    pub token: Option<String>,
    /// The revision to wait for.
    pub min_revision: Option<String>,
    /// The address of the person on whose behalf it is made.
    pub client_address: Option<String>,
}

impl Caller {
    /// With this token.
    pub fn with(token: impl Into<String>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::default()
        }
    }

    /// A request with these headers.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        if let Some(revision) = &self.min_revision {
            request
                .metadata_mut()
                .insert("clientele-min-revision", revision.parse().unwrap());
        }
        if let Some(address) = &self.client_address {
            request
                .metadata_mut()
                .insert("clientele-client-address", address.parse().unwrap());
        }
        request
    }
}

/// Calls any method of the API on one server.
#[derive(Debug, Clone)]
pub struct Calls {
    channel: Channel,
    pool: DescriptorPool,
}

impl Calls {
    /// Calls on this channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            pool: POOL.clone(),
        }
    }

    /// The methods of these services, by their full names.
    pub fn methods(&self, services: &[&str]) -> Vec<MethodDescriptor> {
        services
            .iter()
            .flat_map(|name| {
                self.pool
                    .get_service_by_name(name)
                    .unwrap()
                    .methods()
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The method with this path.
    pub fn method(&self, path: &str) -> MethodDescriptor {
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
        let service = self.pool.get_service_by_name(service).unwrap();
        service
            .methods()
            .find(|known| known.name() == method)
            .unwrap_or_else(|| panic!("no method {path}"))
    }

    /// Makes a call with JSON and answers the (first) message as JSON, and the headers.
    pub async fn call(&self, path: &str, caller: &Caller, request: Value) -> Result<(Value, MetadataMap), Status> {
        let method = self.method(path);
        let request =
            DynamicMessage::deserialize(method.input(), request).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (answer, headers) = self.raw(path, caller, request.encode_to_vec().into()).await?;
        let answer = DynamicMessage::decode(method.output(), answer).unwrap();
        // With the fields that are empty, as grpcurl -emit-defaults shows them.
        let options = SerializeOptions::new().skip_default_fields(false);
        let answer = answer.serialize_with_options(serde_json::value::Serializer, &options);
        Ok((answer.unwrap(), headers))
    }

    /// Sends these bytes as the messages of a stream and answers the bytes of the one message.
    pub async fn raw_stream(
        &self,
        path: &str,
        caller: &Caller,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_str(path).unwrap();
        let response = client
            .client_streaming(caller.request(messages), path, RawCodec)
            .await?;
        Ok(response.into_inner())
    }

    /// Sends these bytes as the message and answers the bytes of the (first) message.
    pub async fn raw(&self, path: &str, caller: &Caller, message: Bytes) -> Result<(Bytes, MetadataMap), Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_str(path).unwrap();
        let response = client.server_streaming(caller.request(message), path, RawCodec).await?;
        let (headers, mut stream, _) = response.into_parts();
        let first = stream.message().await?;
        Ok((
            first.ok_or_else(|| Status::unknown("the stream ended without a message"))?,
            headers,
        ))
    }
}

/// Messages as the bytes that they are.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
