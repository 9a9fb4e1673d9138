//! What AWS answers before a service is asked: authentication, authorization and unknown operations. The same refusal has
//! another code and status in each protocol.

use super::shapes::Violation;
use super::{Fault, Protocol, Service};
use crate::sandbox::faults::Refusal;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No signature at all.
    Unsigned,
    /// An `Authorization` header that cannot be read; the text is AWS's own description.
    Incomplete(String),
    /// An access key that does not exist or is inactive.
    UnknownKey,
    /// A session token that does not belong to the access key.
    BadToken,
    /// Session credentials past their expiry.
    ExpiredToken,
    /// The signature is of another request or secret.
    Mismatch(String),
    /// Signed too long ago, or in the future.
    Skewed(String),
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

impl Rejection {
    /// A signature that does not match.
    pub fn mismatch() -> Self {
        Rejection::Mismatch(MISMATCH.into())
    }

    /// The refusal in a protocol's own terms.
    pub fn fault(&self, protocol: Protocol) -> Fault {
        use Protocol::{Ec2, Json, Query, RestJson};
        let json_status = if protocol == Json { 400 } else { 403 };
        let invalid = "The security token included in the request is invalid";
        let (status, code, message) = match (self, protocol) {
            (Rejection::Unsigned, Ec2) => (
                400,
                "MissingParameter",
                "The request must contain the parameter AWSAccessKeyId".into(),
            ),
            (Rejection::Unsigned, Query) => (
                403,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token".into(),
            ),
            (Rejection::Unsigned, Json | RestJson) => (
                json_status,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token".into(),
            ),
            (Rejection::Incomplete(message), Query | Ec2) => {
                (400, "IncompleteSignature", message.clone())
            }
            (Rejection::Incomplete(message), Json | RestJson) => {
                (json_status, "IncompleteSignatureException", message.clone())
            }
            (Rejection::UnknownKey | Rejection::BadToken, Query) => {
                (403, "InvalidClientTokenId", format!("{invalid}."))
            }
            (Rejection::UnknownKey | Rejection::BadToken, Ec2) => (
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials".into(),
            ),
            (Rejection::UnknownKey | Rejection::BadToken, Json | RestJson) => (
                json_status,
                "UnrecognizedClientException",
                format!("{invalid}."),
            ),
            (Rejection::ExpiredToken, Query) => (
                403,
                "ExpiredToken",
                "The security token included in the request is expired".into(),
            ),
            (Rejection::ExpiredToken, Ec2) => {
                (400, "RequestExpired", "Request has expired.".into())
            }
            (Rejection::ExpiredToken, Json | RestJson) => (
                json_status,
                "ExpiredTokenException",
                "The security token included in the request is expired".into(),
            ),
            (Rejection::Mismatch(message), Query) => {
                (403, "SignatureDoesNotMatch", message.clone())
            }
            (Rejection::Mismatch(_), Ec2) => (
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials".into(),
            ),
            (Rejection::Mismatch(message) | Rejection::Skewed(message), Json | RestJson) => {
                (json_status, "InvalidSignatureException", message.clone())
            }
            (Rejection::Skewed(message), Query) => (403, "SignatureDoesNotMatch", message.clone()),
            (Rejection::Skewed(_), Ec2) => (400, "RequestExpired", "Request has expired.".into()),
        };
        Fault::new(status, code, message)
    }
}

/// Says that a principal may not do something, in AWS's words.
pub fn access_denied(protocol: Protocol, message: String) -> Fault {
    match protocol {
        Protocol::Query => Fault::new(403, "AccessDenied", message),
        Protocol::Ec2 => Fault::new(
            403,
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {message}"),
        ),
        Protocol::Json => Fault::new(400, "AccessDeniedException", message),
        Protocol::RestJson => Fault::new(403, "AccessDeniedException", message),
    }
}

/// Says that a service has no such operation, or that the sandbox has not.
pub fn unknown_operation(service: &dyn Service, operation: &str) -> Fault {
    let message = format!(
        "The action {operation} is not valid for this endpoint: the sandbox's {} does not implement it.",
        service.signing_name()
    );
    match service.protocol() {
        Protocol::Query | Protocol::Ec2 => Fault::new(400, "InvalidAction", message),
        Protocol::Json => Fault::new(400, "UnknownOperationException", message),
        Protocol::RestJson => Fault::new(404, "UnknownOperationException", message),
    }
}

/// Says that a JSON service cannot read a member.
pub fn unreadable(violation: &Violation) -> Fault {
    let message = format!(
        "'{}' at '{}' can not be read: {}",
        violation.value, violation.path, violation.constraint
    );
    Fault::new(400, "SerializationException", message)
}

/// A refusal that a fault rule asks for, as the service would say it.
///
/// Source: the errors of botocore's service models (EKS, App Mesh, X-Ray and Logs name their own), the common errors of each
/// API reference for the others, and `RequestLimitExceeded` with its status from the EC2 API's error codes.
pub fn on_purpose(service: &dyn Service, refusal: Refusal) -> Fault {
    let name = service.signing_name();
    let (status, code, message) = match (refusal, service.protocol()) {
        (Refusal::Throttled, Protocol::Ec2) => {
            (503, "RequestLimitExceeded", "Request limit exceeded.")
        }
        (Refusal::Throttled, Protocol::Query) => (400, "Throttling", "Rate exceeded"),
        (Refusal::Throttled, Protocol::Json) => (400, "ThrottlingException", "Rate exceeded"),
        (Refusal::Throttled, Protocol::RestJson) => match name {
            "appmesh" => (429, "TooManyRequestsException", "Rate exceeded"),
            "xray" => (429, "ThrottledException", "Rate exceeded"),
            _ => (429, "ThrottlingException", "Rate exceeded"),
        },
        (Refusal::Unavailable, Protocol::Ec2) => (
            503,
            "Unavailable",
            "The service is unavailable. Please try again shortly.",
        ),
        (Refusal::Unavailable, Protocol::Query) => {
            (503, "ServiceUnavailable", "Service is unavailable")
        }
        (Refusal::Unavailable, Protocol::Json | Protocol::RestJson) => {
            (503, "ServiceUnavailableException", "Service is unavailable")
        }
        (Refusal::Internal, Protocol::Ec2) => {
            (500, "InternalError", "An internal error has occurred")
        }
        (Refusal::Internal, Protocol::Query) if name == "iam" => {
            (500, "ServiceFailure", "The request processing has failed")
        }
        (Refusal::Internal, Protocol::Query) => {
            (500, "InternalFailure", "The request processing has failed")
        }
        (Refusal::Internal, _) => match name {
            "appmesh" => (500, "InternalServerErrorException", "Internal server error"),
            "ecr" | "eks" => (500, "ServerException", "Internal server error"),
            _ => (500, "InternalServerError", "Internal server error"),
        },
        (Refusal::Denied, protocol) => {
            return access_denied(protocol, "Denied by a fault rule of the sandbox".into());
        }
        // How a service that has ended answers is not documented for any.
        (Refusal::Ended, _) => (410, "GoneException", "This service has ended"),
        (Refusal::Expired, protocol) => return Rejection::ExpiredToken.fault(protocol),
    };
    Fault::new(status, code, message)
}
