"""ECR's own API; the registry protocol behind it has a suite of its own."""

import base64
import hashlib
import json

from conftest import ACCOUNT_TAGS, cli, paged, refused, wait

POLICY = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}]})
LIFECYCLE = json.dumps({"rules": [{"rulePriority": 1, "selection": {
    "tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5}, "action": {"type": "expire"}}]})


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def upload(ecr, repository, content):
    """Uploads a layer the way docker's credential-less tools do, in two parts."""
    started = ecr.initiate_layer_upload(repositoryName=repository)
    half = len(content) // 2
    for first, part in ((0, content[:half]), (half, content[half:])):
        answer = ecr.upload_layer_part(repositoryName=repository, uploadId=started["uploadId"], partFirstByte=first,
                                       partLastByte=first + len(part) - 1, layerPartBlob=part)
        assert answer["lastByteReceived"] == first + len(part) - 1
    return ecr.complete_layer_upload(repositoryName=repository, uploadId=started["uploadId"],
                                     layerDigests=[digest(content)])["layerDigest"]


def manifest(config, layer):
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
                   "digest": digest(config)},
        "layers": [{"mediaType": kind, "size": len(layer), "digest": digest(layer)}]})


def test_repositories(aws):
    ecr = aws.ecr
    repository = ecr.create_repository(repositoryName="peers/one", tags=ACCOUNT_TAGS,
                                       imageScanningConfiguration={"scanOnPush": True})["repository"]
    arn = repository["repositoryArn"]
    assert arn == f"arn:aws:ecr:{aws.region}:{aws.account}:repository/peers/one"
    with refused("RepositoryAlreadyExistsException", "peers/one"):
        ecr.create_repository(repositoryName="peers/one")
    with refused("InvalidParameterException", "repositoryName"):
        ecr.create_repository(repositoryName="Upper")
    ecr.create_repository(repositoryName="peers/two")
    names = {each["repositoryName"] for each in paged(ecr, "describe_repositories")["repositories"]}
    assert {"peers/one", "peers/two"} <= names
    ecr.put_image_tag_mutability(repositoryName="peers/one", imageTagMutability="IMMUTABLE")
    ecr.put_image_scanning_configuration(repositoryName="peers/one", imageScanningConfiguration={"scanOnPush": False})
    shown = ecr.describe_repositories(repositoryNames=["peers/one"])["repositories"][0]
    assert shown["imageTagMutability"] == "IMMUTABLE" and not shown["imageScanningConfiguration"]["scanOnPush"]

    with refused("RepositoryPolicyNotFoundException"):
        ecr.get_repository_policy(repositoryName="peers/one")
    with refused("InvalidParameterException"):
        ecr.set_repository_policy(repositoryName="peers/one", policyText="{")
    ecr.set_repository_policy(repositoryName="peers/one", policyText=POLICY)
    assert "ecr:BatchGetImage" in ecr.get_repository_policy(repositoryName="peers/one")["policyText"]
    ecr.delete_repository_policy(repositoryName="peers/one")
    with refused("RepositoryPolicyNotFoundException"):
        ecr.delete_repository_policy(repositoryName="peers/one")

    with refused("LifecyclePolicyNotFoundException"):
        ecr.get_lifecycle_policy(repositoryName="peers/one")
    with refused("InvalidParameterException"):
        ecr.put_lifecycle_policy(repositoryName="peers/one", lifecyclePolicyText='{"rules": 1, "and": "no more than it"}' + " " * 100)
    ecr.put_lifecycle_policy(repositoryName="peers/one", lifecyclePolicyText=LIFECYCLE)
    assert json.loads(ecr.get_lifecycle_policy(repositoryName="peers/one")["lifecyclePolicyText"]) == json.loads(LIFECYCLE)
    ecr.delete_lifecycle_policy(repositoryName="peers/one")

    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "b"}])
    ecr.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == ACCOUNT_TAGS
    assert ecr.describe_registry()["registryId"] == aws.account
    for name in ("peers/one", "peers/two"):
        ecr.delete_repository(repositoryName=name)
    for call in (ecr.delete_repository, ecr.list_images, ecr.get_repository_policy, ecr.initiate_layer_upload):
        with refused("RepositoryNotFoundException", "peers/one"):
            call(repositoryName="peers/one")
    with refused("RepositoryNotFoundException"):
        ecr.list_tags_for_resource(resourceArn=arn)


def test_images(aws):
    ecr, name = aws.ecr, "peers/images"
    ecr.create_repository(repositoryName=name)
    config, layer = b'{"architecture":"amd64","os":"linux"}', b"not really a layer"
    with refused("LayersNotFoundException"):
        ecr.put_image(repositoryName=name, imageManifest=manifest(config, layer), imageTag="v1")
    started = ecr.initiate_layer_upload(repositoryName=name)
    with refused("EmptyUploadException"):
        ecr.complete_layer_upload(repositoryName=name, uploadId=started["uploadId"], layerDigests=[digest(b"")])
    with refused("InvalidLayerPartException"):
        ecr.upload_layer_part(repositoryName=name, uploadId=started["uploadId"], partFirstByte=5, partLastByte=6,
                              layerPartBlob=b"ab")
    with refused("UploadNotFoundException"):
        ecr.complete_layer_upload(repositoryName=name, uploadId="00000000-0000-0000-0000-000000000000", layerDigests=[digest(b"x")])
    for content in (config, layer):
        assert upload(ecr, name, content) == digest(content)
    with refused("LayerAlreadyExistsException"):
        upload(ecr, name, layer)
    looked = ecr.batch_check_layer_availability(repositoryName=name, layerDigests=[digest(layer), digest(b"absent")])
    assert [each["layerAvailability"] for each in looked["layers"]][:1] == ["AVAILABLE"]
    assert ecr.get_download_url_for_layer(repositoryName=name, layerDigest=digest(layer))["downloadUrl"]
    with refused("LayersNotFoundException"):
        ecr.get_download_url_for_layer(repositoryName=name, layerDigest=digest(b"absent"))

    image = ecr.put_image(repositoryName=name, imageManifest=manifest(config, layer), imageTag="v1")["image"]
    with refused("ImageAlreadyExistsException"):
        ecr.put_image(repositoryName=name, imageManifest=manifest(config, layer), imageTag="v1")
    ecr.put_image(repositoryName=name, imageManifest=manifest(config, layer), imageTag="v2")
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")
    other = manifest(config, layer).replace('"layers"', ' "layers"')
    with refused("ImageTagAlreadyExistsException", "v1"):
        ecr.put_image(repositoryName=name, imageManifest=other, imageTag="v1")
    assert {each["imageTag"] for each in paged(ecr, "list_images", repositoryName=name)["imageIds"]} == {"v1", "v2"}
    detail = paged(ecr, "describe_images", repositoryName=name)["imageDetails"]
    assert [sorted(each["imageTags"]) for each in detail] == [["v1", "v2"]]
    with refused("ImageNotFoundException", "v9"):
        ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "v9"}])
    got = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": "v1"}, {"imageTag": "v9"}])
    assert got["images"][0]["imageId"]["imageDigest"] == image["imageId"]["imageDigest"]
    assert got["failures"][0]["failureCode"] == "ImageNotFound"
    with refused("ScanNotFoundException"):
        ecr.describe_image_scan_findings(repositoryName=name, imageId={"imageTag": "v1"})
    ecr.put_image_scanning_configuration(repositoryName=name, imageScanningConfiguration={"scanOnPush": True})
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    ecr.put_image(repositoryName=name, imageManifest=other, imageTag="scanned")
    wait(ecr, "image_scan_complete", repositoryName=name, imageId={"imageTag": "scanned"})
    assert paged(ecr, "describe_image_scan_findings", repositoryName=name, imageId={"imageTag": "scanned"})["imageScanFindings"]
    with refused("RepositoryNotEmptyException", name):
        ecr.delete_repository(repositoryName=name)
    gone = ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "v1"}, {"imageTag": "v9"}])
    assert len(gone["imageIds"]) == 1 and gone["failures"][0]["failureCode"] == "ImageNotFound"
    ecr.delete_repository(repositoryName=name, force=True)


def test_the_login_that_people_type(aws):
    token = aws.ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    assert user == "AWS" and password and token["expiresAt"] and token["proxyEndpoint"].startswith("http")
    assert cli("ecr", "get-login-password", "--output", "text")
    aws.ecr.create_repository(repositoryName="typed")
    assert cli("ecr", "describe-repositories", "--repository-names", "typed")["repositories"]
    assert cli("ecr", "list-images", "--repository-name", "typed")["imageIds"] == []
    cli("ecr", "delete-repository", "--repository-name", "typed", "--force")
