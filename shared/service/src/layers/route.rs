//! Which method a path means.

use clientele_api::access::Method;
use std::time::Duration;

const HEALTH: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Which method a call is for. Every request carries it in its extensions.
#[derive(Debug, Clone, Copy)]
pub enum Route {
    /// One of ours.
    Method(&'static Method),
    /// Health checking.
    Health(&'static str),
    /// Reflection.
    Reflection(&'static str),
    /// None that any of our services has.
    Unknown,
}

impl Route {
    /// The method with this path.
    pub fn of(path: &str) -> Self {
        let among = |paths: [&'static str; 2]| paths.into_iter().find(|known| *known == path);
        if let Some(method) = clientele_api::method(path) {
            Self::Method(method)
        } else if let Some(path) = among(HEALTH) {
            Self::Health(path)
        } else if let Some(path) = among(REFLECTION) {
            Self::Reflection(path)
        } else {
            Self::Unknown
        }
    }

    /// The method of a request that has passed the layer which notes it.
    pub fn of_request<B>(request: &http::Request<B>) -> Self {
        let noted = request.extensions().get().copied();
        noted.unwrap_or_else(|| Self::of(request.uri().path()))
    }

    /// The method's full name, as in `clientele.org.v1.OrganizationService/GetOrganization`. All that are unknown share one,
    /// so that no caller can grow the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Method(method) => method.path.trim_start_matches('/'),
            Self::Health(path) | Self::Reflection(path) => path.trim_start_matches('/'),
            Self::Unknown => "_OTHER",
        }
    }

    /// Whether it is a stream without an end of its own.
    pub(super) fn is_stream(self) -> bool {
        match self {
            Self::Method(method) => method.deadline.is_none(),
            Self::Health(path) => path == HEALTH[1],
            Self::Reflection(_) => true,
            Self::Unknown => false,
        }
    }

    /// Whether it is about the server and not about what it serves.
    pub(super) fn is_infrastructure(self) -> bool {
        matches!(self, Self::Health(_) | Self::Reflection(_))
    }

    /// The longest that a call may take.
    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Method(method) => method.deadline,
            Self::Health(_) | Self::Reflection(_) | Self::Unknown => None,
        }
    }
}
