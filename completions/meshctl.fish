# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_meshctl_global_optspecs
    string join \n f/file= env= region= profile= sandbox output= color= q/quiet v/verbose parallelism= timeout= y/yes no-input h/help V/version
end

function __fish_meshctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_meshctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_meshctl_using_subcommand
    set -l cmd (__fish_meshctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c meshctl -n "__fish_meshctl_needs_command" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_needs_command" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_needs_command" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_needs_command" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_needs_command" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_needs_command" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_needs_command" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_needs_command" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_needs_command" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_needs_command" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_needs_command" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_needs_command" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_needs_command" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_needs_command" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "up" -d 'Make the environment, from nothing to traffic; run again, it changes nothing'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "plan" -d 'Show what `up` would do; exits with 2 when there are changes'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "status" -d 'Show the environment as it is'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "canary" -d 'Shift traffic between a service\'s versions, and measure the split that really happens'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "verify" -d 'Send traffic, and prove routing, split, retries, time-outs, egress filter, probes and tracing'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "down" -d 'Remove the environment and prove that nothing is left'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "audit" -d 'List everything that is left of the environment; exits with 3 when there is something'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "doctor" -d 'Check credentials, permissions, quotas and the mesh\'s control plane, before anything is made'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "init" -d 'Write a commented meshctl.yaml'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "graph" -d 'Print the deployment as a graph'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "kubeconfig" -d 'Add the cluster to kubectl\'s configuration, without switching its current context'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "token" -d 'Print a token for the cluster\'s API server, as kubectl\'s credential plugins do'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "schema" -d 'Print the JSON schema of meshctl.yaml, for editors'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "completions" -d 'Print a shell\'s completion script'
complete -c meshctl -n "__fish_meshctl_needs_command" -f -a "sandbox" -d 'Start, stop and look into the embedded sandbox'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l timings -d 'Write where the run\'s time went as one HTML file' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand up" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l destroy -d 'Show what `down` would remove instead'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand plan" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l watch -d 'Show it again whenever it changes, until Ctrl-C'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand status" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l weight -d 'The second version\'s share of the traffic, a whole percentage' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l steps -d 'The canary\'s shares, in percent, the last 100' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l alpha -d 'How likely a canary that is no worse may be rolled back' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l beta -d 'How likely a canary that is worse by the effect may be promoted' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l error-effect -d 'The smallest difference of error rates that matters' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l latency-quantile -d 'The quantile of latency that is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l latency-effect -d 'The smallest difference of latency that matters, such as 50% or 50ms' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l guard-rate -d 'The error rate above which the canary is out at once' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l guard-requests -d 'Over how many requests that is looked at' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l warm-up -d 'How long after each shift nothing but the guard rail is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l step-limit -d 'How long a step may take' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l on-inconclusive -d 'What to do when a step\'s time is over and nothing is decided' -r -f -a "hold\t'Leave the weight as it is'
rollback\t'Give stable all traffic again'
promote\t'Go on to the next step as if the canary had passed'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l on-interrupt -d 'What to do on Ctrl-C and SIGTERM' -r -f -a "hold\t'Leave the weight as it is; `canary resume` goes on'
rollback\t'Give stable all traffic again'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l source -d 'The callers\' Envoys, a Prometheus server, or requests of our own; may be given several times' -r -f -a "envoy\t''
prometheus\t''
probe\t''"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l probe-rate -d 'Requests a second that the probe sends' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l prometheus-url -d 'The Prometheus server' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l prometheus-requests -d 'The counter of requests; $cluster stands for Envoy\'s name of a version\'s cluster, $version for the version [default: Envoy\'s own]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l prometheus-errors -d 'The counter of failures' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l prometheus-retries -d 'The counter of tries after a failed one' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l prometheus-latency -d 'The histogram of latencies in milliseconds' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l report -d 'Write a report as one HTML file' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l junit -d 'Write the verdict as JUnit XML' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l record -d 'Record the samples, for `meshctl canary replay`' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l auto -d 'Shift step by step, judge each step by a sequential test, and promote or roll back'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l no-latency -d 'Judge errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "status" -d 'Show the split as configured and as the mesh took it'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "promote" -d 'Give the second version all traffic'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "abort" -d 'Give the first version all traffic again, and end a canary that decides by itself'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "resume" -d 'Go on with a canary that was interrupted, killed or held'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "undo" -d 'Take a promotion back: the split is as it was before the canary'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "simulate" -d 'Simulate how often this and other rules are wrong, and how soon they know'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and not __fish_seen_subcommand_from status promote abort resume undo simulate replay" -f -a "replay" -d 'Judge a recorded run again, with other settings'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l watch -d 'Show requests, error rates and latency of each version as they go by, until Ctrl-C'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from promote" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from abort" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l report -d 'Write a report as one HTML file' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l junit -d 'Write the verdict as JUnit XML' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l record -d 'Record the samples, for `meshctl canary replay`' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from resume" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l service -d 'The service [default: the only one with two versions]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l requests -d 'How many requests to send for measuring' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l report -d 'Write a report as one HTML file' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l junit -d 'Write the verdict as JUnit XML' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l record -d 'Record the samples, for `meshctl canary replay`' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from undo" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l runs -d 'Runs of each scenario by each rule' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l seed -d 'The same seed gives the same numbers' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l scenario -d 'Only scenarios whose name contains this' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l steps -d 'The canary\'s shares, in percent, the last 100' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l alpha -d 'How likely a canary that is no worse may be rolled back' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l beta -d 'How likely a canary that is worse by the effect may be promoted' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l error-effect -d 'The smallest difference of error rates that matters' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l latency-quantile -d 'The quantile of latency that is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l latency-effect -d 'The smallest difference of latency that matters, such as 50% or 50ms' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l guard-rate -d 'The error rate above which the canary is out at once' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l guard-requests -d 'Over how many requests that is looked at' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l warm-up -d 'How long after each shift nothing but the guard rail is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l step-limit -d 'How long a step may take' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l on-inconclusive -d 'What to do when a step\'s time is over and nothing is decided' -r -f -a "hold\t'Leave the weight as it is'
rollback\t'Give stable all traffic again'
promote\t'Go on to the next step as if the canary had passed'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l on-interrupt -d 'What to do on Ctrl-C and SIGTERM' -r -f -a "hold\t'Leave the weight as it is; `canary resume` goes on'
rollback\t'Give stable all traffic again'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l no-latency -d 'Judge errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from simulate" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l from -d 'The source whose samples are judged [default: the first]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l steps -d 'The canary\'s shares, in percent, the last 100' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l alpha -d 'How likely a canary that is no worse may be rolled back' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l beta -d 'How likely a canary that is worse by the effect may be promoted' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l error-effect -d 'The smallest difference of error rates that matters' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l latency-quantile -d 'The quantile of latency that is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l latency-effect -d 'The smallest difference of latency that matters, such as 50% or 50ms' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l guard-rate -d 'The error rate above which the canary is out at once' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l guard-requests -d 'Over how many requests that is looked at' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l warm-up -d 'How long after each shift nothing but the guard rail is judged' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l step-limit -d 'How long a step may take' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l on-inconclusive -d 'What to do when a step\'s time is over and nothing is decided' -r -f -a "hold\t'Leave the weight as it is'
rollback\t'Give stable all traffic again'
promote\t'Go on to the next step as if the canary had passed'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l on-interrupt -d 'What to do on Ctrl-C and SIGTERM' -r -f -a "hold\t'Leave the weight as it is; `canary resume` goes on'
rollback\t'Give stable all traffic again'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l as-recorded -d 'Judge with the settings of the recorded run instead of those given here'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l no-latency -d 'Judge errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand canary; and __fish_seen_subcommand_from replay" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l requests -d 'How many requests to send at least; a version with a small share takes more to be seen' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l patience -d 'How long access logs and traces may take to show the requests' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l junit -d 'Write the findings as JUnit XML' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand verify" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l timings -d 'Write where the run\'s time went as one HTML file' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand down" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand audit" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l force -d 'Overwrite a file that is there'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand init" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l format -d 'The language of the graph' -r -f -a "mermaid\t''
dot\t''"
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand graph" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l path -d 'The file to add it to; `-` prints a file of its own [default: KUBECONFIG\'s first, or ~/.kube/config]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l use-context -d 'Make it the current context'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand kubeconfig" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l cluster-name -d 'The EKS cluster [default: the environment\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand token" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand schema" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand completions" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "start" -d 'Start it in the background, or find it running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "stop" -d 'Stop it; its state stays'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "status" -d 'Show whether it runs and where it listens'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "reset" -d 'Stop it and forget its state'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "env" -d 'Print what the aws CLI, the SDKs and kubectl need, for `eval`'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "logs" -d 'Print its log'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "faults" -d 'Make calls to the sandbox fail on purpose'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "operations" -d 'List the AWS operations that it has, by the services\' names in credential scopes'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and not __fish_seen_subcommand_from start stop status reset env logs faults operations serve" -f -a "serve" -d 'Run it in the foreground; `start` does this in the background'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l speed -d 'How many times faster than real durations modelled ones pass; 1 is real time' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l port -d 'The port of the AWS endpoint [default: the last one, or a free one]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l faults -d 'A YAML file of fault rules, in place of those that a running sandbox has' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l no-data-plane -d 'Model pods and load balancers without running processes and Envoys'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from start" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from reset" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l shell -d 'The shell to print for' -r -f -a "posix\t'bash, zsh and other POSIX shells'
fish\t'fish'
powershell\t'PowerShell'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from env" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s l -l lines -d 'How many of the last lines' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from logs" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -f -a "add" -d 'Add a rule'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -f -a "list" -d 'List the rules, and how many calls each has seen and struck'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from faults" -f -a "clear" -d 'Remove rules'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from operations" -s V -l version -d 'Print version'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l directory -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l kubernetes -d 'The folder of a real Kubernetes control plane' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l parent -d 'The process with which it ends' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l speed -d 'How many times faster than real durations modelled ones pass; 1 is real time' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l port -d 'The port of the AWS endpoint [default: the last one, or a free one]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l faults -d 'A YAML file of fault rules, in place of those that a running sandbox has' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s f -l file -d 'The environment file [default: ./meshctl.yaml where there is one, else the demo]' -r -F
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l env -d 'The environment\'s name, in place of the file\'s' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l region -d 'The AWS region [default: AWS_REGION, then the file\'s, then the profile\'s]' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l profile -d 'The AWS profile' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l output -d 'What output is for' -r -f -a "human\t'People; a live display on a terminal'
plain\t'People and logs; one line at a time, no colour, no live display'
json\t'Programs; one JSON object a line, with a version field'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l parallelism -d 'How many steps work at once at most; those that wait do not count' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l timeout -d 'How long the whole run may take, such as 90s, 45m or 2h' -r
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l no-data-plane -d 'Model pods and load balancers without running processes and Envoys'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l sandbox -d 'Use the embedded sandbox instead of AWS; it is started when it is not running'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s q -l quiet -d 'Say errors alone'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s v -l verbose -d 'Say also what stays as it is'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s y -l yes -d 'Answer yes to every question'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -l no-input -d 'Never ask; what needs an answer is refused'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c meshctl -n "__fish_meshctl_using_subcommand sandbox; and __fish_seen_subcommand_from serve" -s V -l version -d 'Print version'
