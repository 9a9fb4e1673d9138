#!/usr/bin/env bash
# What the script next to this one needs and a person would have written or built before: manifests, policies, images.
# They are taken from an environment that is up, so that both make the same. usage: gather.sh FOLDER
set -euo pipefail
folder=$1
name=meshctl-demo
mkdir -p "$folder"/{manifests,roles,images}

aws eks update-kubeconfig --name "$name" --kubeconfig "$folder/kubeconfig" >/dev/null
export KUBECONFIG=$folder/kubeconfig
registry=$(aws ecr describe-repositories --repository-names "$name/frontend" --query 'repositories[0].repositoryUri' --output text)
registry=${registry%%/*}
vpc=$(aws eks describe-cluster --name "$name" --query cluster.resourcesVpcConfig.vpcId --output text)

# objects FILE NAMESPACE KINDS: as they were written, without what the cluster adds.
objects() {
  kubectl get "$3" --namespace "$2" --selector app.kubernetes.io/managed-by=meshctl --output json |
    jq --arg vpc "$vpc" --arg registry "$registry/" '.items |= map(
      del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.generation, .metadata.creationTimestamp,
          .metadata.managedFields, .metadata.finalizers, .metadata.annotations["deployment.kubernetes.io/revision"],
          .spec.clusterIP?, .spec.clusterIPs?, .spec.meshRef?)
      | if .kind == "Namespace" then del(.spec) else . end
      | walk(if type == "string" then gsub($vpc; "@VPC@") | gsub($registry; "@REGISTRY@/") else . end))' >"$folder/manifests/$1.json"
}
objects kinds default customresourcedefinitions
objects namespaces default namespaces
for namespace in appmesh-system demo; do
  jq --arg name "$namespace" '.items |= map(select(.metadata.name == $name))' "$folder/manifests/namespaces.json" \
    >"$folder/manifests/namespace-$namespace.json"
done
objects rights default clusterroles,clusterrolebindings
objects mesh-controller appmesh-system serviceaccounts,roles,rolebindings,secrets,services,deployments
objects load-balancer-controller kube-system serviceaccounts,roles,rolebindings,secrets,services,deployments
objects webhooks default mutatingwebhookconfigurations,validatingwebhookconfigurations
objects class default ingressclassparams.elbv2.k8s.aws,ingressclasses
objects mesh default meshes.appmesh.k8s.aws
objects names demo serviceaccounts,services,networkpolicies
objects members demo virtualservices,virtualrouters,virtualnodes
objects workloads demo deployments,poddisruptionbudgets
objects ingress demo ingresses.networking.k8s.io

issuer=$(aws eks describe-cluster --name "$name" --query cluster.identity.oidc.issuer --output text)
for role in mesh-controller proxy load-balancer-controller; do
  aws iam get-role --role-name "$name-$role" --query Role.AssumeRolePolicyDocument --output json |
    sed "s|${issuer#https://}|@ISSUER@|g" >"$folder/roles/$role.trust.json"
  aws iam get-role-policy --role-name "$name-$role" --policy-name meshctl --query PolicyDocument --output json \
    >"$folder/roles/$role.policy.json"
done

read -r token endpoint < <(aws ecr get-authorization-token --output text \
  --query 'authorizationData[0].[authorizationToken, proxyEndpoint]')
credentials=$(base64 --decode <<<"$token")
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$folder/policy.json"
for service in frontend backend database; do
  tag=$(aws ecr describe-images --repository-name "$name/$service" --query 'imageDetails[0].imageTags[0]' --output text)
  echo "$tag" >"$folder/images/$service.tag"
  skopeo --policy "$folder/policy.json" copy --quiet --preserve-digests --src-tls-verify=false --src-creds "$credentials" \
    "docker://${endpoint#*://}/$name/$service:$tag" "oci:$folder/images/$service:$tag"
done
