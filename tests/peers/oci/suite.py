"""skopeo and raw registry requests against the sandbox's ECR. Needs the standard library and skopeo alone."""

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

ACCOUNT = "123456789012"
OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def exchange(host, method, path, body, headers, is_too_many):
    """One request, again while it is one of too many: ECR takes ten manifests in a second."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection(host, timeout=30)
        # What is refused at once is not read to its end; the answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if not is_too_many(answer.status, content) or time.monotonic() > deadline:
            return answer.status, answer.headers, content
        time.sleep(0.1)


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Sandbox:
    """A sandbox of its own in a temporary folder."""

    def __init__(self, meshctl, folder):
        self.meshctl, self.folder = meshctl, folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "MESHCTL_STATE_DIR": str(folder / "state"),
        }

    def command(self, *words):
        words = [self.meshctl, "sandbox", *words]
        subprocess.run(words, env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        self.command("start", "--no-data-plane", "--speed", "2000")
        self.profile = json.loads((self.folder / "state/sandbox/profile.json").read_text())
        self.host = f"127.0.0.1:{self.profile['ecrPort']}"
        self.public = f"127.0.0.1:{self.profile['publicPort']}"

    def change_state(self, change):
        """Changes what the sandbox remembers while it is stopped."""
        self.command("stop")
        file = self.folder / "state/sandbox/state.json"
        state = json.loads(file.read_text())
        change(state)
        file.write_text(json.dumps(state))
        self.start()

    def aws(self, service, body, target=None, keys=None):
        """Calls AWS, signed; returns status and body."""
        key, secret, session = keys or (self.profile["accessKeyId"], self.profile["secretAccessKey"], None)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        host = self.profile["endpoint"].removeprefix("http://")
        headers = {"host": host, "x-amz-date": now}
        headers["content-type"] = "application/x-amz-json-1.1" if target else "application/x-www-form-urlencoded"
        if target:
            headers["x-amz-target"] = target
        if session:
            headers["x-amz-security-token"] = session
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            ["POST", "/", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names]
            + [hashlib.sha256(body.encode()).hexdigest()]
        )
        scope = f"{now[:8]}/us-west-2/{service}/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signing = f"AWS4{secret}".encode()
        for part in [*scope.split("/"), to_sign]:
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signing.hex()}"
        )
        def is_too_many(status, body):
            return status == 400 and b'"ThrottlingException"' in body

        status, _, body = exchange(host, "POST", "/", body, headers, is_too_many)
        return status, body.decode()

    def ecr(self, operation, keys=None, **members):
        target = f"AmazonEC2ContainerRegistry_V20150921.{operation}"
        status, body = self.aws("ecr", json.dumps(members), target, keys)
        assert status == 200, f"{operation}: {status} {body}"
        return json.loads(body)

    def password(self, keys=None):
        data = self.ecr("GetAuthorizationToken", keys)["authorizationData"][0]
        assert data["proxyEndpoint"] == f"http://{self.host}", data
        user, password = base64.b64decode(data["authorizationToken"]).decode().split(":", 1)
        assert user == "AWS"
        return password

    def request(self, method, path, body=None, headers=None, password=None):
        """One request to the registry; returns status, headers and body."""
        token = base64.b64encode(f"AWS:{password or self.token}".encode()).decode()
        headers = {"authorization": f"Basic {token}", **(headers or {})}
        return exchange(self.host, method, path, body, headers, lambda status, _: status == 429)

    def login(self):
        self.token = self.password()

    def upload(self, repository):
        status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        return urllib.parse.urlsplit(headers["location"]).path

    def push_blob(self, repository, content):
        path = self.upload(repository)
        status, headers, body = self.request("PUT", f"{path}?digest={digest(content)}", content)
        assert status == 201, (status, body)
        assert headers["docker-content-digest"] == digest(content)
        return digest(content)


class Skopeo:
    """skopeo with an authorization file of its own."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.home = sandbox.folder / "skopeo"
        self.home.mkdir(exist_ok=True)
        (self.home / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.auth = self.home / "auth.json"

    def run(self, *words, stdin=None):
        policy = ["--policy", str(self.home / "policy.json"), "--tmpdir", str(self.home)]
        return subprocess.run(
            ["skopeo", *policy, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home)},
        )

    def ok(self, *words, stdin=None):
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"skopeo {' '.join(words)}: {done.stderr}"
        return done.stdout

    def refused(self, *words, saying):
        done = self.run(*words)
        assert done.returncode != 0, f"skopeo {' '.join(words)} succeeded"
        assert saying in done.stderr, f"skopeo {' '.join(words)}: {done.stderr!r} does not say {saying!r}"

    def login(self, password):
        words = ["login", "--tls-verify=false", "--authfile", str(self.auth), "--username", "AWS", "--password-stdin"]
        self.ok(*words, self.sandbox.host, stdin=password)

    def copy(self, source, target, *more):
        self.ok(*self.copying(source, target), *more)

    def copying(self, source, target):
        plain = ["--src-tls-verify=false"] if source.startswith("docker://") else []
        plain += ["--dest-tls-verify=false"] if target.startswith("docker://") else []
        return ["copy", "--authfile", str(self.auth), *plain, source, target]

    def inspect(self, image, *more):
        words = ["inspect", "--tls-verify=false", "--authfile", str(self.auth), *more, image]
        return self.ok(*words)

    def digest(self, image):
        """The digest of what the registry serves, from its bytes."""
        return digest(self.inspect(image, "--raw").encode())


def fails(answer, status, code, message):
    """Asserts an error of the distribution specification."""
    got, headers, body = answer
    assert got == status, (got, body)
    assert headers["content-type"].startswith("application/json"), headers["content-type"]
    errors = json.loads(body)["errors"]
    assert len(errors) == 1 and errors[0]["code"] == code, errors
    assert message in errors[0]["message"], errors


def copies_arrive_as_they_are(sandbox, skopeo):
    base = f"docker://{sandbox.public}/docker/library/python:3.13-slim"
    ours = f"docker://{sandbox.host}/demo/app:v1"
    skopeo.copy(base, ours)
    image = skopeo.digest(ours)
    details = sandbox.ecr("DescribeImages", repositoryName="demo/app")["imageDetails"]
    assert [(one["imageDigest"], one["imageTags"]) for one in details] == [(image, ["v1"])], details
    seen = json.loads(skopeo.inspect(ours))
    assert (seen["Digest"], seen["RepoTags"]) == (image, ["v1"]), seen
    index = json.loads(skopeo.inspect(base, "--raw"))
    assert image in [one["digest"] for one in index["manifests"]], "the image is one of the index's"
    config = json.loads(skopeo.inspect(ours, "--config"))
    assert config["os"] == "linux" and "PYTHON_VERSION" in " ".join(config["config"]["Env"])

    layout = f"oci:{sandbox.folder}/layout:v1"
    skopeo.copy(ours, layout, "--preserve-digests")
    again = f"docker://{sandbox.host}/demo/copy:v1"
    skopeo.copy(layout, again, "--preserve-digests")
    assert skopeo.digest(again) == image, "out and in again"
    blobs = sandbox.folder / "layout/blobs/sha256"
    for blob in blobs.iterdir():
        assert digest(blob.read_bytes()) == f"sha256:{blob.name}"

    # All platforms: the index and its images.
    every = f"docker://{sandbox.host}/demo/all:v1"
    skopeo.copy(base, every, "--all", "--preserve-digests")
    assert skopeo.digest(every) == skopeo.digest(base)
    kinds = {one["imageManifestMediaType"] for one in sandbox.ecr("DescribeImages", repositoryName="demo/all")["imageDetails"]}
    assert kinds == {OCI, "application/vnd.oci.image.index.v1+json"}, kinds

    # Docker's own format.
    skopeo.copy(ours, f"docker://{sandbox.host}/demo/docker:v1", "--format", "v2s2")
    raw = skopeo.inspect(f"docker://{sandbox.host}/demo/docker:v1", "--raw")
    assert json.loads(raw)["mediaType"] == DOCKER
    details = sandbox.ecr("DescribeImages", repositoryName="demo/docker")["imageDetails"]
    assert details[0]["imageDigest"] == digest(raw.encode()), details
    folder = sandbox.folder / "folder"
    skopeo.copy(f"docker://{sandbox.host}/demo/docker:v1", f"dir:{folder}")
    skopeo.copy(f"dir:{folder}", f"docker://{sandbox.host}/demo/docker:v2")
    tags = json.loads(skopeo.ok("list-tags", "--tls-verify=false", "--authfile", str(skopeo.auth), f"docker://{sandbox.host}/demo/docker"))
    assert tags["Tags"] == ["v1", "v2"], tags

    # Once more sends nothing new, and the same content may have its tag again.
    skopeo.copy(base, ours)
    assert skopeo.digest(ours) == image


def what_is_deleted_is_gone(sandbox, skopeo):
    target = f"docker://{sandbox.host}/demo/docker:v1"
    skopeo.ok("delete", "--tls-verify=false", "--authfile", str(skopeo.auth), target)
    left = sandbox.ecr("DescribeImages", repositoryName="demo/docker")["imageDetails"]
    assert left == [], left
    skopeo.refused("inspect", "--tls-verify=false", "--authfile", str(skopeo.auth), target, saying="manifest unknown")


def immutable_tags_stay(sandbox, skopeo):
    ours = f"docker://{sandbox.host}/demo/app:v1"
    before = skopeo.digest(ours)
    other = sandbox.folder / "other"
    shutil.copytree(sandbox.folder / "folder", other)
    config_name = json.loads((other / "manifest.json").read_text())["config"]["digest"].removeprefix("sha256:")
    config = json.loads((other / config_name).read_text())
    config["config"]["Labels"] = {"changed": "yes"}
    changed = json.dumps(config).encode()
    (other / config_name).unlink()
    (other / digest(changed).removeprefix("sha256:")).write_bytes(changed)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["config"].update(digest=digest(changed), size=len(changed))
    (other / "manifest.json").write_text(json.dumps(manifest))
    skopeo.refused(
        *skopeo.copying(f"dir:{other}", ours),
        saying="The image tag 'v1' already exists in the 'demo/app' repository and cannot be overwritten because the "
        "tag is immutable.",
    )
    assert skopeo.digest(ours) == before
    # Where tags may move it is moved.
    skopeo.copy(f"dir:{other}", f"docker://{sandbox.host}/demo/copy:v1")
    assert skopeo.digest(f"docker://{sandbox.host}/demo/copy:v1") != before


def wrong_digests_are_refused(sandbox, skopeo):
    path = sandbox.upload("demo/app")
    wrong = digest(b"something else")
    fails(
        sandbox.request("PUT", f"{path}?digest={wrong}", b"content"),
        400,
        "DIGEST_INVALID",
        "provided digest did not match uploaded content",
    )
    status, _, _ = sandbox.request("HEAD", f"/v2/demo/app/blobs/{wrong}")
    assert status == 404
    status, _, _ = sandbox.request("HEAD", f"/v2/demo/app/blobs/{digest(b'content')}")
    assert status == 404
    manifest = sandbox.request("GET", "/v2/demo/app/manifests/v1")[2]
    fails(
        sandbox.request("PUT", f"/v2/demo/app/manifests/{wrong}", manifest, {"content-type": OCI}),
        400,
        "DIGEST_INVALID",
        "provided digest did not match uploaded content",
    )
    # skopeo, too, sees when a blob on its way out is not what its name says.
    folder = sandbox.folder / "tampered"
    shutil.copytree(sandbox.folder / "folder", folder)
    # Named as nothing that was ever pushed, or skopeo mounts it from where it knows it to be.
    fresh, manifest = os.urandom(1000), json.loads((folder / "manifest.json").read_text())
    manifest["layers"][0].update(digest=digest(fresh), size=len(fresh))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / digest(fresh).removeprefix("sha256:")).write_bytes(bytes(reversed(fresh)))
    done = skopeo.run(*skopeo.copying(f"dir:{folder}", f"docker://{sandbox.host}/demo/empty:v1"))
    assert done.returncode != 0
    assert sandbox.ecr("DescribeImages", repositoryName="demo/empty")["imageDetails"] == []


def a_cut_off_upload_leaves_nothing(sandbox, skopeo):
    content = os.urandom(1 << 20)
    for method in ["PATCH", "PUT"]:
        path = sandbox.upload("demo/app")
        target = path if method == "PATCH" else f"{path}?digest={digest(content)}"
        token = base64.b64encode(f"AWS:{sandbox.token}".encode()).decode()
        head = (
            f"{method} {target} HTTP/1.1\r\nhost: {sandbox.host}\r\nauthorization: Basic {token}\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        host, port = sandbox.host.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as stream:
            stream.sendall(head.encode() + content[: len(content) // 2])
        status, _, _ = sandbox.request("HEAD", f"/v2/demo/app/blobs/{digest(content)}")
        assert status == 404, "half a blob is none"
        # The upload goes on from where it was acknowledged: its beginning. The server may need a moment to see the end.
        deadline = time.monotonic() + 10
        while True:
            status, headers, body = sandbox.request("PATCH", path, content, {"content-range": f"0-{len(content) - 1}"})
            if status == 202 or time.monotonic() > deadline:
                break
            assert status == 416, (status, body)
        assert status == 202, (method, status, body)
        assert headers["range"] == f"0-{len(content) - 1}", headers["range"]
        status, _, body = sandbox.request("PUT", f"{path}?digest={digest(content)}")
        assert status == 201, (status, body)
        content = os.urandom(1 << 20)
    # A part that does not follow on.
    path = sandbox.upload("demo/app")
    fails(
        sandbox.request("PATCH", path, b"x" * 10, {"content-range": "5-14"}),
        416,
        "BLOB_UPLOAD_INVALID",
        "",
    )
    gone = path.rsplit("/", 1)[0] + "/00000000-0000-4000-8000-000000000000"
    fails(sandbox.request("PATCH", gone, b"x"), 404, "BLOB_UPLOAD_UNKNOWN", "")


def manifests_need_what_they_name(sandbox, skopeo):
    lost, config = digest(b"never pushed"), sandbox.push_blob("demo/app", b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": lost, "size": 12}],
    }
    put = lambda body, kind=OCI: sandbox.request("PUT", "/v2/demo/app/manifests/x", body, {"content-type": kind})
    where = f"required for pushing image into repository with name 'demo/app' in the registry with id '{ACCOUNT}' do not exist"
    fails(put(json.dumps(manifest)), 400, "MANIFEST_BLOB_UNKNOWN", f"Layers with digests '[{lost}]' {where}")
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": [{"mediaType": OCI, "digest": lost, "size": 12}]}
    fails(put(json.dumps(index), kind), 400, "MANIFEST_BLOB_UNKNOWN", f"Images with digests '[{lost}]' {where}")
    syntax = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
    manifest["layers"] = []
    for broken in ["", "{", "[]", "{}", "null", json.dumps({**manifest, "mediaType": "text/plain"}), "[" * 100_000]:
        fails(put(broken), 405, "UNSUPPORTED", syntax)
    status, body = sandbox.aws(
        "ecr",
        json.dumps({"repositoryName": "demo/app", "imageManifest": "{", "imageTag": "x"}),
        "AmazonEC2ContainerRegistry_V20150921.PutImage",
    )
    assert status == 400 and json.loads(body) == {"__type": "InvalidParameterException", "message": syntax}, body
    assert "x" not in json.loads(skopeo.inspect(f"docker://{sandbox.host}/demo/app:v1"))["RepoTags"]


def unknown_repositories_are_named(sandbox, skopeo):
    saying = f"The repository with name 'no/such' does not exist in the registry with id '{ACCOUNT}'"
    layout = f"oci:{sandbox.folder}/layout:v1"
    skopeo.refused(*skopeo.copying(layout, f"docker://{sandbox.host}/no/such:v1"), saying=f"name unknown: {saying}")
    inspecting = ["inspect", "--tls-verify=false", "--authfile", str(skopeo.auth)]
    skopeo.refused(*inspecting, f"docker://{sandbox.host}/no/such:v1", saying=saying)
    skopeo.refused(*inspecting, f"docker://{sandbox.host}/demo/app:none", saying="Requested image not found")


def strangers_and_the_powerless_are_refused(sandbox, skopeo):
    ours = f"docker://{sandbox.host}/demo/app:v1"
    done = skopeo.run("inspect", "--tls-verify=false", "--creds", "AWS:wrong", ours)
    assert done.returncode != 0 and "unauthorized" in done.stderr.lower(), done.stderr
    done = skopeo.run("inspect", "--tls-verify=false", "--no-creds", ours)
    assert done.returncode != 0, done.stdout

    # A role that may read one repository.
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}
    arn = f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository"
    reading = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:ListImages", "ecr:BatchCheckLayerAvailability"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": reading, "Resource": f"{arn}/demo/app"},
        ],
    }
    form = lambda **members: urllib.parse.urlencode(members)
    for body in [
        form(Action="CreateRole", Version="2010-05-08", RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust)),
        form(Action="PutRolePolicy", Version="2010-05-08", RoleName="reader", PolicyName="p", PolicyDocument=json.dumps(policy)),
    ]:
        status, answer = sandbox.aws("iam", body)
        assert status == 200, answer
    role = f"arn:aws:iam::{ACCOUNT}:role/reader"
    body = form(Action="AssumeRole", Version="2011-06-15", RoleArn=role, RoleSessionName="me")
    _, answer = sandbox.aws("sts", body)
    part = lambda name: answer.split(f"<{name}>")[1].split("<")[0]
    password = sandbox.password((part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken")))
    creds = ["--tls-verify=false", "--creds", f"AWS:{password}"]
    skopeo.ok("inspect", *creds, ours)
    fails(
        sandbox.request("POST", "/v2/demo/app/blobs/uploads/", password=password),
        403,
        "DENIED",
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/reader/me is not authorized to perform: ecr:InitiateLayerUpload on "
        f"resource: {arn}/demo/app because no identity-based policy allows the ecr:InitiateLayerUpload action",
    )
    skopeo.refused("inspect", *creds, f"docker://{sandbox.host}/demo/copy:v1", saying="not authorized to perform: ecr:")
    writing = ["copy", "--dest-tls-verify=false", "--dest-creds", f"AWS:{password}"]
    skopeo.refused(
        *writing, f"dir:{sandbox.folder}/other", f"docker://{sandbox.host}/demo/app:v9",
        saying="is not authorized to perform: ecr:PutImage",
    )


def an_expired_login_is_refused(sandbox, skopeo):
    def expire(state):
        for token in state["ecr"]["tokens"].values():
            token["expires_at"] = int(time.time() * 1000) - 60_000

    sandbox.change_state(expire)
    saying = "Your authorization token has expired. Reauthenticate and try again."
    old = sandbox.token
    layout = f"oci:{sandbox.folder}/layout:v1"
    copying = skopeo.copying(layout, f"docker://{sandbox.host}/demo/copy:v2")
    inspecting = ["inspect", "--tls-verify=false", "--authfile", str(skopeo.auth)]
    skopeo.refused(*inspecting, f"docker://{sandbox.host}/demo/app:v1", saying=saying)
    # A copy begins with a HEAD, whose answer has no body.
    skopeo.refused(*copying, saying="403")
    sandbox.login()
    fails(sandbox.request("GET", "/v2/", password=old), 403, "DENIED", saying)
    skopeo.login(sandbox.token)
    skopeo.ok(*copying)


def main():
    with tempfile.TemporaryDirectory(prefix="meshctl-oci-") as name:
        sandbox = Sandbox(os.path.abspath(sys.argv[1]), pathlib.Path(name))
        sandbox.start()
        try:
            for repository in ["app", "copy", "all", "docker", "empty"]:
                mutability = "IMMUTABLE" if repository == "app" else "MUTABLE"
                sandbox.ecr("CreateRepository", repositoryName=f"demo/{repository}", imageTagMutability=mutability)
            sandbox.login()
            skopeo = Skopeo(sandbox)
            skopeo.login(sandbox.token)
            for test in [
                copies_arrive_as_they_are,
                immutable_tags_stay,
                wrong_digests_are_refused,
                a_cut_off_upload_leaves_nothing,
                manifests_need_what_they_name,
                unknown_repositories_are_named,
                strangers_and_the_powerless_are_refused,
                what_is_deleted_is_gone,
                an_expired_login_is_refused,
            ]:
                began = time.monotonic()
                test(sandbox, skopeo)
                print(f"ok  {test.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
        finally:
            sandbox.command("stop")


if __name__ == "__main__":
    main()
