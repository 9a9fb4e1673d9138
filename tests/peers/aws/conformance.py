"""Holds every answer against botocore's own model of the service, before botocore has made anything of it."""

import json
import re
import xml.etree.ElementTree as ElementTree

JSON_COMMON = {
    "AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "SerializationException", "ThrottlingException", "UnknownOperationException",
    "UnrecognizedClientException", "ValidationException",
}
QUERY_COMMON = {
    "AccessDenied", "ExpiredToken", "IncompleteSignature", "InvalidAction", "InvalidClientTokenId",
    "InvalidParameterCombination", "InvalidParameterValue", "MalformedQueryString", "MissingAction",
    "MissingAuthenticationToken", "MissingParameter", "SignatureDoesNotMatch", "Throttling", "ValidationError",
}
# EC2's model names no errors; these are from the API reference's list of them.
EC2_ERRORS = {
    "AddressLimitExceeded", "AuthFailure", "DefaultSubnetAlreadyExistsInAvailabilityZone", "DependencyViolation",
    "DryRunOperation", "CannotDelete", "Gateway.NotAttached", "IncorrectState", "InvalidAction", "InvalidAllocationID.NotFound",
    "InvalidAssociationID.NotFound", "InvalidAttachmentID.NotFound", "InvalidFilter", "InvalidGatewayID.NotFound", "InvalidGroup.Duplicate",
    "InvalidGroup.InUse", "InvalidGroup.NotFound", "InvalidGroup.Reserved", "InvalidGroupId.Malformed", "InvalidID",
    "InvalidIPAddress.InUse", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed", "InvalidInstanceType",
    "InvalidInternetGatewayID.NotFound", "InvalidInternetGatewayId.Malformed",
    "InvalidLaunchTemplateId.Malformed", "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound",
    "InvalidLaunchTemplateName.AlreadyExistsException", "InvalidLaunchTemplateName.MalformedException",
    "InvalidLaunchTemplateName.NotFoundException", "InvalidNetworkInterface.InUse", "InvalidNetworkInterfaceID.NotFound",
    "InvalidNetworkInterfaceId.Malformed", "InvalidNextToken", "InvalidParameter", "InvalidParameterCombination",
    "InvalidParameterValue", "InvalidPermission.Duplicate", "InvalidPermission.Malformed", "InvalidPermission.NotFound",
    "InvalidRoute.NotFound", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed",
    "InvalidSecurityGroupRuleId.NotFound", "InvalidSecurityGroupID.NotFound", "InvalidSubnet", "InvalidSubnet.Conflict",
    "InvalidSubnet.Range", "InvalidSubnetID.NotFound", "InvalidSubnetId.Malformed", "InvalidTagKey.Malformed",
    "InvalidVolume.NotFound", "InvalidVolumeID.Malformed", "InvalidVpc.Range", "InvalidVpcID.NotFound",
    "InvalidVpcId.Malformed", "InvalidZone.NotFound", "MalformedQueryString", "MissingParameter", "NatGatewayMalformed",
    "NatGatewayNotFound", "OperationNotPermitted", "RequestExpired", "Resource.AlreadyAssociated",
    "ResourceAlreadyAssociated", "RouteAlreadyExists", "RulesPerSecurityGroupLimitExceeded", "TagLimitExceeded",
    "UnauthorizedOperation", "UnknownParameter", "Unsupported", "UnsupportedOperation", "VolumeInUse", "VpcLimitExceeded",
}
# What AWS answers and its own models lack: the examples of the EC2 reference show new interfaces pending, those of the IAM
# reference boundaries of the type Policy, and a stack's own events have the stack's statuses, which are more than a
# resource's.
UNMODELLED = {
    "NetworkInterfaceStatus": {"pending"},
    "PermissionsBoundaryAttachmentType": {"Policy"},
    "ResourceStatus": {"REVIEW_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
                       "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"},
}
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Checker:
    """Collects what is wrong with answers, and which operations have succeeded."""

    def __init__(self):
        self.problems = []
        self.succeeded = set()

    def watch(self, client):
        """Checks every answer that a client gets, also those of its waiters and paginators."""
        service = client.meta.service_model
        client.meta.events.register("before-parse", lambda operation_model, response_dict, **_: self.check(
            service, operation_model, response_dict))
        return client

    def check(self, service, operation, answer):
        name = f"{service.signing_name}:{operation.name}"
        say = lambda problem: self.problems.append(f"{name}: {problem}")
        status, body = answer["status_code"], answer["body"]
        headers = {key.lower(): value for key, value in answer["headers"].items()}
        if not headers.get("x-amzn-requestid"):
            say("no request id in the headers")
        xml = service.metadata["protocol"] in ("query", "ec2")
        if status >= 300:
            (self.xml_error if xml else self.json_error)(service, operation, status, headers, body, say)
            return
        if status != operation.http.get("responseCode", 200):
            say(f"status {status}")
        if xml:
            self.xml_answer(service, operation, body, say)
        else:
            self.json_answer(operation, body, say)
        self.succeeded.add(name)

    def json_answer(self, operation, body, say):
        shape = operation.output_shape
        value = json.loads(body or b"{}")
        if shape is None or shape.serialization.get("payload"):
            shape = shape and shape.members[shape.serialization["payload"]]
        if shape is not None:
            walk_json(value, shape, "", say)
        elif value:
            say(f"a body where the model has none: {value}")

    def xml_answer(self, service, operation, body, say):
        root, shape = ElementTree.fromstring(body), operation.output_shape
        wanted = f"{operation.name}Response"
        if plain(root.tag) != wanted:
            say(f"root {plain(root.tag)}")
        # EC2's ends with a slash that the model lacks.
        if namespace(root.tag).rstrip("/") != service.metadata["xmlNamespace"].rstrip("/"):
            say(f"namespace {namespace(root.tag)}")
        children = {plain(child.tag): child for child in root}
        if service.metadata["protocol"] == "ec2":
            if not children["requestId"].text:
                say("no request id")
            content = [child for child in root if plain(child.tag) != "requestId"]
        else:
            if not children["ResponseMetadata"][0].text:
                say("no request id")
            wrapper = shape and shape.serialization.get("resultWrapper")
            content = list(children[wrapper]) if wrapper and wrapper in children else []
            strangers = set(children) - {wrapper, "ResponseMetadata", f"{operation.name}Result"}
            if strangers:
                say(f"beside the result: {strangers}")
        if shape is None:
            # EC2 answers `return` to what has no result.
            if [child for child in content if plain(child.tag) != "return"]:
                say(f"content where the model has none")
        else:
            walk_structure(content, shape, "", say)

    def json_error(self, service, operation, status, headers, body, say):
        value = json.loads(body)
        code = headers.get("x-amzn-errortype") or value.get("__type", "")
        code = code.split(":")[0].split("#")[-1]
        if not isinstance(value.get("message", value.get("Message")), str):
            say(f"error {code} without a message")
        by_name = {shape.name: shape for shape in operation.error_shapes}
        if code in by_name:
            shape = by_name[code]
            wanted = shape.metadata.get("error", {}).get("httpStatusCode", 500 if shape.metadata.get("fault") else 400)
            if status != wanted:
                say(f"{code} with status {status}, not {wanted}")
            members = {k: v for k, v in value.items() if k.lower() != "message" and k != "__type"}
            for key in members:
                if key not in shape.members:
                    say(f"{code} has the unknown member {key}")
                else:
                    walk_json(members[key], shape.members[key], f"{code}.{key}", say)
        elif code not in JSON_COMMON:
            say(f"error {code} is not modelled: {sorted(by_name)}")

    def xml_error(self, service, operation, status, headers, body, say):
        root = ElementTree.fromstring(body)
        path = "Errors/Error" if service.metadata["protocol"] == "ec2" else "{*}Error"
        error = root.find(path)
        code, message = error.find("{*}Code").text, error.find("{*}Message").text
        request = root.find("RequestID" if service.metadata["protocol"] == "ec2" else "{*}RequestId")
        if not message or request is None or not request.text:
            say(f"error {code} without a message or a request id")
        if service.metadata["protocol"] == "ec2":
            if code not in EC2_ERRORS:
                say(f"error {code} is not a documented one")
            return
        if error.find("{*}Type").text not in ("Sender", "Receiver"):
            say(f"error {code} without a type")
        by_code = {shape.metadata.get("error", {}).get("code", shape.name): shape for shape in operation.error_shapes}
        if code in by_code:
            wanted = by_code[code].metadata.get("error", {}).get("httpStatusCode", 400)
            if status != wanted:
                say(f"{code} with status {status}, not {wanted}")
        elif code not in QUERY_COMMON:
            say(f"error {code} is not modelled: {sorted(by_code)}")


def plain(tag):
    return tag.rpartition("}")[2]


def namespace(tag):
    return tag[1:].partition("}")[0]


def check_text(text, shape, path, say):
    allowed = getattr(shape, "enum", None)
    if allowed and text not in allowed and text not in UNMODELLED.get(shape.name, ()):
        say(f"{path}: {text!r} is not in {allowed}")
    limits = shape.metadata
    if "pattern" in limits and not fits(limits["pattern"], text):
        say(f"{path}: {text[:100]!r} does not match {limits['pattern']}")
    if not limits.get("min", 0) <= len(text) <= limits.get("max", len(text)):
        say(f"{path}: {text[:100]!r} is not {limits.get('min')} to {limits.get('max')} long")


def fits(pattern, text):
    """Whether a whole text fits a pattern, which is Java's."""
    return re.fullmatch(pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w ").replace(r"\u10000-\u10FFFF", "\U00010000-\U0010ffff"), text)


def walk_json(value, shape, path, say):
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return say(f"{path}: {value!r} is not a structure")
        names = {target.serialization.get("name", name): (name, target) for name, target in shape.members.items()
                 if "location" not in target.serialization}
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in value:
                say(f"{path}.{name} is required")
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            say(f"{path}: a union with {list(value)}")
        for key, item in value.items():
            if key not in names:
                say(f"{path}.{key} is not in the model")
            elif item is None:
                say(f"{path}.{key} is null")
            else:
                walk_json(item, names[key][1], f"{path}.{key}", say)
    elif kind == "list":
        if not isinstance(value, list):
            return say(f"{path}: {value!r} is not a list")
        for item in value:
            walk_json(item, shape.member, f"{path}[]", say)
    elif kind == "map":
        if not isinstance(value, dict):
            return say(f"{path}: {value!r} is not a map")
        for key, item in value.items():
            check_text(key, shape.key, f"{path}.{key}", say)
            walk_json(item, shape.value, f"{path}.{key}", say)
    elif kind == "timestamp":
        iso = shape.serialization.get("timestampFormat") == "iso8601"
        if not (ISO_8601.fullmatch(str(value)) if iso else is_number(value)):
            say(f"{path}: {value!r} is not a time")
    else:
        fits = {
            "string": isinstance(value, str), "blob": isinstance(value, str), "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool), "long": isinstance(value, int),
            "double": is_number(value), "float": is_number(value),
        }[kind]
        if not fits:
            say(f"{path}: {value!r} is not a {kind}")
        elif kind == "string":
            check_text(value, shape, path, say)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def walk_structure(elements, shape, path, say):
    members = {target.serialization.get("name", name): (name, target) for name, target in shape.members.items()}
    seen = {plain(element.tag) for element in elements}
    for name in shape.required_members:
        if shape.members[name].serialization.get("name", name) not in seen:
            say(f"{path}.{name} is required")
    for element in elements:
        name = plain(element.tag)
        if name not in members:
            say(f"{path}.{name} is not in the model")
        else:
            walk_xml(element, members[name][1], f"{path}.{name}", say)
    if len(seen) != len(elements):
        say(f"{path}: an element is there twice")


def walk_xml(element, shape, path, say):
    kind, text = shape.type_name, element.text or ""
    if kind == "structure":
        return walk_structure(list(element), shape, path, say)
    if kind == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if plain(child.tag) != item:
                say(f"{path}: an item called {plain(child.tag)}, not {item}")
            walk_xml(child, shape.member, f"{path}[]", say)
        return
    if kind == "map":
        for child in element:
            if plain(child.tag) != "entry" or [plain(part.tag) for part in child] != ["key", "value"]:
                say(f"{path}: not entries of key and value")
        return
    if len(element):
        say(f"{path}: a {kind} with children")
    pattern = {
        "boolean": "true|false", "integer": r"-?\d+", "long": r"-?\d+", "float": r"-?[\d.]+", "double": r"-?[\d.]+",
        "timestamp": ISO_8601.pattern,
    }.get(kind)
    if pattern and not re.fullmatch(pattern, text):
        say(f"{path}: {text!r} is not a {kind}")
    if kind == "string":
        check_text(text, shape, path, say)
