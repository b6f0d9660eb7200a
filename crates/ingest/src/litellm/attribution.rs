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

pub(super) fn read(root: &Object<'_>, context: &RequestContext<'_>) -> Result<Attribution, Rejection> {
    let metadata = root.object("metadata");
    let of_key = metadata.object("user_api_key_auth_metadata");
    let of_spend = metadata.object("spend_logs_metadata");
    let of_requester = metadata.object("requester_metadata");
    let places = [&of_key, &of_spend, &of_requester];
    let ours = |name: &str| {
        let found = places.iter().find_map(|place| Some((place.path_of(name), place.text(name)?)));
        found.map_or((String::new(), None), |(path, text)| (path, Some(text)))
    };
    let at = |object: &Object<'_>, name: &str| object.path_of(name);

    let behind_proxy = metadata.text("user_api_key_hash").is_some();
    let org = match (of_key.text("fluxori_org_id"), ours("fluxori_org_id")) {
        (Some(org), _) => (at(&of_key, "fluxori_org_id"), Some(org)),
        (None, (path, Some(org))) if !behind_proxy => (path, Some(org)),
        _ => (at(&metadata, "user_api_key_org_id"), metadata.text("user_api_key_org_id")),
    };
    let org = draft::id(OrgId::new, &org.0, org.1)?;
    let org = draft::org(org, context, "give the key of LiteLLM an organization")?;
    let (path, module) = ours("fluxori_module");
    let module = draft::id(Module::new, &path, module)?;
    let module = draft::module(module, context, "put fluxori_module into spend_logs_metadata")?;

    let end_user = root.text("end_user").or_else(|| metadata.text("user_api_key_end_user_id"));
    let user = match ours("fluxori_user_id") {
        (path, Some(user)) => (path, Some(user)),
        _ => match metadata.text("user_api_key_user_id").filter(|user| *user != NOBODY) {
            Some(user) => (at(&metadata, "user_api_key_user_id"), Some(user)),
            None => ("end_user".to_owned(), end_user),
        },
    };
    let team = match ours("fluxori_team_id") {
        (path, Some(team)) => (path, Some(team)),
        _ => {
            let team = metadata.text("user_api_key_team_id").or_else(|| metadata.text("team_id"));
            (at(&metadata, "user_api_key_team_id"), team)
        }
    };
    let feature = ours("fluxori_feature");
    let run = match ours("fluxori_run_id") {
        (path, Some(run)) => (path, Some(run)),
        _ => ("session_id".to_owned(), root.text("session_id")),
    };
    let (path, reservation) = ours("fluxori_reservation_id");
    let reservation =
        reservation.map(|id| id.parse::<ReservationId>()).transpose().map_err(|error| Rejection {
            event_id: None,
            reason: crate::Reason::Invalid,
            detail: format!("{path} is no UUID: {error}"),
            field: Some(path),
        })?;
    Ok(Attribution {
        org,
        module,
        user: draft::id(UserId::new, &user.0, user.1)?,
        team: draft::id(TeamId::new, &team.0, team.1)?,
        feature: draft::id(Feature::new, &feature.0, feature.1)?,
        run: draft::id(RunId::new, &run.0, run.1)?,
        reservation,
        tags: tags(root, &metadata, end_user),
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
