//! Who may use the kubelet's endpoint, as EKS sets it up: nobody without a name. A client certificate of the cluster's
//! authority has one, and so has a bearer token, about which the API server is asked; as it is about what they may.

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::Kubelet;
use super::server::{Body, text};
use crate::sandbox::kubernetes::Subject;

/// Lets a request in, or answers why not.
pub async fn admit(
    kubelet: &Kubelet,
    subject: Option<Subject>,
    request: &Request<Incoming>,
) -> Result<(), Response<Body>> {
    let user = match subject {
        Some(subject) => Some(UserInfo {
            username: Some(subject.user),
            groups: Some(subject.groups),
            ..UserInfo::default()
        }),
        None => whose(kubelet, token(request)).await,
    };
    let Some(user) = user else {
        return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
    };
    let verb = match request.method().as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    };
    let subresources: &[&str] = match request.uri().path() {
        "/healthz" => &["healthz", "proxy"],
        _ => &["proxy"],
    };
    for subresource in subresources {
        if may(kubelet, &user, verb, subresource).await {
            return Ok(());
        }
    }
    let message = format!(
        "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
        user.username.unwrap_or_default(),
        subresources.join(" ")
    );
    Err(text(StatusCode::FORBIDDEN, message))
}

fn token(request: &Request<Incoming>) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

async fn whose(kubelet: &Kubelet, token: Option<String>) -> Option<UserInfo> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: token?,
            ..TokenReviewSpec::default()
        },
        ..TokenReview::default()
    };
    let reviews: Api<TokenReview> = Api::all(kubelet.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let status = answer.ok()?.status?;
    (status.authenticated == Some(true)).then_some(status.user?)
}

async fn may(kubelet: &Kubelet, user: &UserInfo, verb: &str, subresource: &str) -> bool {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(kubelet.options.name.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(kubelet.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.is_ok_and(|answer| answer.status.is_some_and(|status| status.allowed))
}
