#!/usr/bin/env bash
# The demo by hand: what a careful person writes with the aws CLI and kubectl, one step after the other. Each step looks
# first, so that the script can be run again; each waits until what it made is there, as the tools' own waits do. The
# result is what `meshctl up` makes, to the last tag. usage: up.sh STACKS FOLDER, a folder made by gather.sh
#
# What the tools' waits cannot know is left out: nothing is mended, replaced or taken back, only made where it is missing.
set -euo pipefail
stacks=$1 folder=$2
name=meshctl-demo
owner=meshctl:environment=demo
export KUBECONFIG=$folder/kubeconfig AWS_PAGER=
# How long a pause between two tries is where no tool has a wait.
pause=${PAUSE:-5}

say() { printf '%s\n' "$*" >&2; }
# tries WORDS COMMAND…: again and again while it fails with these words.
tries() {
  local words=$1 said
  shift
  until said=$("$@" 2>&1); do
    grep --quiet --extended-regexp "$words" <<<"$said" || { say "$said"; return 1; }
    sleep "$pause"
  done
}
text() { "$@" --output text; }

say "account"
account=$(text aws sts get-caller-identity --query Account)
caller=$(text aws sts get-caller-identity --query Arn)
region=$AWS_REGION

say "repositories and images"
lifecycle='{"rules":[{"rulePriority":1,"description":"keep the newest 30 images","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}}]}'
credentials= endpoint=
for service in frontend backend database; do
  repository=$name/$service
  if ! aws ecr describe-repositories --repository-names "$repository" >/dev/null 2>&1; then
    aws ecr create-repository --repository-name "$repository" --image-tag-mutability IMMUTABLE \
      --image-scanning-configuration scanOnPush=true --tags "Key=${owner%=*},Value=${owner#*=}" >/dev/null
  fi
  aws ecr put-lifecycle-policy --repository-name "$repository" --lifecycle-policy-text "$lifecycle" >/dev/null
  tag=$(<"$folder/images/$service.tag")
  if ! aws ecr describe-images --repository-name "$repository" --image-ids "imageTag=$tag" >/dev/null 2>&1; then
    if [ -z "$credentials" ]; then
      read -r token endpoint < <(text aws ecr get-authorization-token \
        --query 'authorizationData[0].[authorizationToken, proxyEndpoint]')
      credentials=$(base64 --decode <<<"$token")
    fi
    plain=()
    [[ $endpoint == https://* ]] || plain=(--dest-tls-verify=false)
    skopeo --policy "$folder/policy.json" copy --quiet --preserve-digests "${plain[@]}" --dest-creds "$credentials" \
      "oci:$folder/images/$service:$tag" "docker://${endpoint#*://}/$repository:$tag"
  fi
done
registry=$(text aws ecr describe-repositories --repository-names "$name/frontend" --query 'repositories[0].repositoryUri')

# stack NAME PARAMETER=VALUE…
stack() {
  local stack=$name-$1 template=$stacks/$1.yaml parameter parameters=() said digest
  shift
  for parameter in EnvironmentName=demo "ClusterName=$name" "$@"; do
    parameters+=("ParameterKey=${parameter%%=*},ParameterValue=${parameter#*=}")
  done
  digest=$(sha256sum "$template")
  set -- --stack-name "$stack" --template-body "file://$template" --parameters "${parameters[@]}" \
    --capabilities CAPABILITY_NAMED_IAM --tags "Key=${owner%=*},Value=${owner#*=}" "Key=meshctl:template,Value=${digest%% *}"
  say "stack $stack"
  if ! aws cloudformation describe-stacks --stack-name "$stack" >/dev/null 2>&1; then
    aws cloudformation create-stack "$@" >/dev/null
    aws cloudformation wait stack-create-complete --stack-name "$stack"
  elif said=$(aws cloudformation update-stack "$@" 2>&1); then
    aws cloudformation wait stack-update-complete --stack-name "$stack"
  else
    grep --quiet "No updates are to be performed" <<<"$said" || { say "$said"; return 1; }
  fi
}
# output STACK KEY
output() {
  text aws cloudformation describe-stacks --stack-name "$name-$1" --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue"
}
stack network VpcCidr=10.42.0.0/16 SubnetBits=13 NatGateways=single
stack roles
stack nodes DiskGib=20
private=$(output network PrivateSubnetIds)
public=$(output network PublicSubnetIds)

say "log group"
logs=/aws/eks/$name/cluster
if [ "$(text aws logs describe-log-groups --log-group-name-prefix "$logs" --query 'length(logGroups)')" = 0 ]; then
  aws logs create-log-group --log-group-name "$logs" --tags "$owner"
fi
aws logs put-retention-policy --log-group-name "$logs" --retention-in-days 7

say "control plane"
if ! aws eks describe-cluster --name "$name" >/dev/null 2>&1; then
  version=$(text aws eks describe-cluster-versions \
    --query 'max_by(clusterVersions[?versionStatus==`STANDARD_SUPPORT`], &clusterVersion).clusterVersion')
  # IAM is eventually consistent: a new role may not be known yet.
  tries "role" aws eks create-cluster --name "$name" --kubernetes-version "$version" \
    --role-arn "$(output roles ClusterRoleArn)" \
    --resources-vpc-config "subnetIds=$private,$public,endpointPrivateAccess=true,endpointPublicAccess=true,publicAccessCidrs=0.0.0.0/0" \
    --access-config authenticationMode=API,bootstrapClusterCreatorAdminPermissions=false \
    --upgrade-policy supportType=STANDARD --no-bootstrap-self-managed-addons \
    --logging '{"clusterLogging":[{"types":["api","audit","authenticator"],"enabled":true}]}' --tags "$owner"
fi
aws eks wait cluster-active --name "$name"
if ! aws eks describe-access-entry --cluster-name "$name" --principal-arn "$caller" >/dev/null 2>&1; then
  aws eks create-access-entry --cluster-name "$name" --principal-arn "$caller" --tags "$owner" >/dev/null
fi
# Idempotent; right after its creation the entry may not be found yet.
tries "ResourceNotFoundException" aws eks associate-access-policy --cluster-name "$name" --principal-arn "$caller" \
  --policy-arn arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy --access-scope type=cluster
aws eks update-kubeconfig --name "$name" --kubeconfig "$KUBECONFIG" >/dev/null
read -r vpc issuer < <(text aws eks describe-cluster --name "$name" \
  --query 'cluster.[resourcesVpcConfig.vpcId, identity.oidc.issuer]')
issuer=${issuer#https://}

say "roles of service accounts"
provider=arn:aws:iam::$account:oidc-provider/$issuer
if ! aws iam get-open-id-connect-provider --open-id-connect-provider-arn "$provider" >/dev/null 2>&1; then
  aws iam create-open-id-connect-provider --url "https://$issuer" --client-id-list sts.amazonaws.com \
    --tags "Key=${owner%=*},Value=${owner#*=}" >/dev/null
fi
for role in mesh-controller proxy load-balancer-controller; do
  if ! aws iam get-role --role-name "$name-$role" >/dev/null 2>&1; then
    aws iam create-role --role-name "$name-$role" --description "Service accounts of $name" \
      --assume-role-policy-document "$(sed "s|@ISSUER@|$issuer|g" "$folder/roles/$role.trust.json")" \
      --tags "Key=${owner%=*},Value=${owner#*=}" >/dev/null
  fi
  aws iam put-role-policy --role-name "$name-$role" --policy-name meshctl --policy-document "file://$folder/roles/$role.policy.json"
done

# addon NAME ARGUMENT…
addon() {
  local addon=$1
  shift
  say "add-on $addon"
  if ! aws eks describe-addon --cluster-name "$name" --addon-name "$addon" >/dev/null 2>&1; then
    aws eks create-addon --cluster-name "$name" --addon-name "$addon" --resolve-conflicts OVERWRITE --tags "$owner" "$@" >/dev/null
  fi
  aws eks wait addon-active --cluster-name "$name" --addon-name "$addon"
}
addon vpc-cni --configuration-values '{"enableNetworkPolicy":"true"}'
addon kube-proxy

say "nodes"
if ! aws eks describe-nodegroup --cluster-name "$name" --nodegroup-name "$name-workers" >/dev/null 2>&1; then
  aws eks create-nodegroup --cluster-name "$name" --nodegroup-name "$name-workers" --node-role "$(output roles NodeRoleArn)" \
    --subnets ${private//,/ } --instance-types m5.large --ami-type AL2023_x86_64_STANDARD \
    --scaling-config minSize=1,maxSize=4,desiredSize=3 --update-config maxUnavailable=1 \
    --launch-template "id=$(output nodes LaunchTemplateId),version=$(output nodes LaunchTemplateVersion)" \
    --labels meshctl.dev/environment=demo --tags "$owner" >/dev/null
fi
aws eks wait nodegroup-active --cluster-name "$name" --nodegroup-name "$name-workers"
addon coredns

# apply MANIFESTS…: tried again while a webhook's controller is ready and its webhook does not serve yet.
apply() {
  local manifests
  for manifests; do
    sed "s|@VPC@|$vpc|g; s|@REGISTRY@|${registry%%/*}|g" "$folder/manifests/$manifests.json" >"$folder/applied.json"
    tries "failed calling webhook|no endpoints available|failed to find matching|no matches for kind" \
      kubectl apply --server-side --force-conflicts --filename "$folder/applied.json"
  done
}
say "mesh controller"
apply kinds
kubectl wait --for condition=Established --timeout 60s --filename "$folder/manifests/kinds.json" >/dev/null
apply namespace-appmesh-system rights mesh-controller
kubectl --namespace appmesh-system rollout status --timeout 300s deployment/appmesh-controller >/dev/null
say "load balancer controller"
apply load-balancer-controller
kubectl --namespace kube-system rollout status --timeout 300s deployment/aws-load-balancer-controller >/dev/null
apply webhooks class

say "mesh"
apply namespace-demo mesh
kubectl wait --for condition=MeshActive --timeout 300s "mesh/$name" >/dev/null
apply names members
for kind in virtualnode virtualrouter virtualservice; do
  case $kind in virtualnode) active=VirtualNodeActive ;; virtualrouter) active=VirtualRouterActive ;; *) active=VirtualServiceActive ;; esac
  kubectl --namespace demo wait --for "condition=$active" --timeout 300s --all "$kind" >/dev/null
done

say "services"
apply workloads
for deployment in $(kubectl --namespace demo get deployments --output name); do
  kubectl --namespace demo rollout status --timeout 600s "$deployment" >/dev/null
done

say "load balancer"
apply ingress
kubectl --namespace demo wait --for 'jsonpath={.status.loadBalancer.ingress[0]}' --timeout 600s ingress/frontend >/dev/null
# The sandbox's load balancers are named by addresses.
host=$(kubectl --namespace demo get ingress frontend \
  --output 'jsonpath={.status.loadBalancer.ingress[0].hostname}{.status.loadBalancer.ingress[0].ip}')
port=$(kubectl --namespace demo get ingress frontend --output 'jsonpath={.metadata.annotations.alb\.ingress\.kubernetes\.io/listen-ports}' |
  jq '.[0].HTTP')
balancer=$(text aws elbv2 describe-load-balancers --query "LoadBalancers[?DNSName=='$host'].LoadBalancerArn")
aws elbv2 wait load-balancer-available --load-balancer-arns "$balancer"
for group in $(text aws elbv2 describe-target-groups --load-balancer-arn "$balancer" --query 'TargetGroups[].TargetGroupArn'); do
  aws elbv2 wait target-in-service --target-group-arn "$group"
done
until curl --silent --fail --max-time 5 --output /dev/null "http://$host:$port/"; do sleep "$pause"; done
say "http://$host:$port/ answers ($region)"
