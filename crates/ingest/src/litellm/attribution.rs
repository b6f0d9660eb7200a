//! Pure: who and what a call of LiteLLM's was for.

use std::collections::BTreeMap;

use fluxori_core::id::{Feature, Module, OrgId, ReservationId, RunId, TeamId, UserId};
use serde_json::Value;

use crate::draft::{self, Tags};
use crate::object::Object;
use crate::{Rejection, RequestContext};

pub(super) struct Attribution {
    pub(super) org: OrgId,
    pub(super) module: Module,
    pub(super) user: Option<UserId>,
    pub(super) team: Option<TeamId>,
    pub(super) feature: Option<Feature>,
    pub(super) run: Option<RunId>,
    pub(super) reservation: Option<ReservationId>,
    pub(super) tags: BTreeMap<String, String>,
}

/// Fields of ours in the metadata of a call begin with this.
const OURS: &str = "fluxori_";
/// What LiteLLM calls who uses the proxy's master key.
const NOBODY: &str = "default_user_id";

/// Only an org that cannot be used costs the event: what merely informs is dropped, and the module is then the API key's.
pub(super) fn read(root: &Object<'_>, context: &RequestContext<'_>) -> Result<Attribution, Rejection> {
    let metadata = root.object("metadata");
    let of_key = metadata.object("user_api_key_auth_metadata");
    let of_client = [metadata.object("spend_logs_metadata"), metadata.object("requester_metadata")];
    // A client fills these in: they never come before what its key says.
    let clients = |name: &str| of_client.iter().find_map(|place| place.text(name));

    let org = if let Some(org) = of_key.text("fluxori_org_id") {
        (of_key.path_of("fluxori_org_id"), Some(org))
    } else if let Some(org) = metadata.text("user_api_key_org_id") {
        (metadata.path_of("user_api_key_org_id"), Some(org))
    } else {
        let claims = of_client.iter().filter(|_| !is_behind_proxy(&metadata));
        let claim = claims
            .filter_map(|place| Some((place.path_of("fluxori_org_id"), place.text("fluxori_org_id")?)))
            .next();
        claim.map_or((String::new(), None), |(path, org)| (path, Some(org)))
    };
    let org = draft::id(OrgId::new, &org.0, org.1)?;
    let org = draft::org(org, context, "give the key of LiteLLM an organization")?;
    let module = of_key.text("fluxori_module").or_else(|| clients("fluxori_module"));
    let module = module.and_then(|module| Module::new(module).ok());
    let module = draft::module(module, context, "put fluxori_module into spend_logs_metadata")?;

    let end_user = root.text("end_user").or_else(|| metadata.text("user_api_key_end_user_id"));
    let user = of_key
        .text("fluxori_user_id")
        .or_else(|| metadata.text("user_api_key_user_id").filter(|user| *user != NOBODY))
        .or_else(|| clients("fluxori_user_id"))
        .or(end_user);
    let team = of_key
        .text("fluxori_team_id")
        .or_else(|| metadata.text("user_api_key_team_id"))
        .or_else(|| clients("fluxori_team_id"))
        .or_else(|| metadata.text("team_id"));
    let ours = |name: &str| of_key.text(name).or_else(|| clients(name));
    let run = ours("fluxori_run_id").or_else(|| root.text("session_id"));
    Ok(Attribution {
        org,
        module,
        user: user.and_then(|user| UserId::new(user).ok()),
        team: team.and_then(|team| TeamId::new(team).ok()),
        feature: ours("fluxori_feature").and_then(|feature| Feature::new(feature).ok()),
        run: run.and_then(|run| RunId::new(run).ok()),
        reservation: ours("fluxori_reservation_id").and_then(|id| id.parse::<ReservationId>().ok()),
        tags: tags(root, &metadata, end_user),
    })
}

/// Whether a proxy let the caller in, whose client is then a stranger. A caller with a JWT has no key, so any field tells
/// it; the library leaves all of them null.
fn is_behind_proxy(metadata: &Object<'_>) -> bool {
    metadata.fields().filter(|(name, _)| name.starts_with("user_api_key_")).any(|(_, value)| match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    })
}

fn tags(root: &Object<'_>, metadata: &Object<'_>, end_user: Option<&str>) -> BTreeMap<String, String> {
    let mut tags = Tags::default();
    tags.extend(scalars(&metadata.object("spend_logs_metadata")));
    let of_request = root.get("request_tags").and_then(Value::as_array);
    tags.extend(of_request.into_iter().flatten().filter_map(Value::as_str).filter_map(request_tag));
    tags.extend(scalars(&metadata.object("requester_metadata")));
    let known = [
        ("end_user", end_user),
        ("litellm.key_alias", metadata.text("user_api_key_alias")),
        ("litellm.model_group", root.text("model_group")),
    ];
    tags.extend(known.into_iter().filter_map(|(name, text)| Some((name, text?.to_owned()))));
    tags.take()
}

fn scalars<'v>(object: &Object<'v>) -> impl Iterator<Item = (&'v str, String)> + use<'v> {
    let theirs = object.fields().filter(|(name, _)| !name.starts_with(OURS));
    theirs.filter_map(|(name, value)| Some((name, draft::tag_value(value)?)))
}

/// `env:prod` is a name and a value. LiteLLM adds tags for the client's program, which say nothing of the call.
fn request_tag(tag: &str) -> Option<(&str, String)> {
    if tag.starts_with("User-Agent:") {
        return None;
    }
    let (name, value) = tag.split_once(':').or_else(|| tag.split_once('=')).unwrap_or((tag, "true"));
    Some((name, value.trim().to_owned()))
}
