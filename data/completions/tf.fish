# fish completion for tf-train, tf-grow, tf-eval, tf-generate and tf-inspect. Installed under each of the five names.

function __tf_checkpoints
    __fish_complete_suffix .tfck
end

function __tf_no_checkpoint
    not string match -q -- '*.tfck' (commandline -opc)[2..]
end

for program in tf-train tf-grow tf-eval tf-generate tf-inspect
    complete -c $program -e
    complete -c $program -s h -l help -d 'show help'
    complete -c $program -s V -l version -d 'show the version'
    complete -c $program -s q -l quiet -d 'say nothing but errors'
    complete -c $program -s v -l verbose -d 'say more'
    complete -c $program -l threads -x -d 'threads to use'
    complete -c $program -l color -x -a 'auto always never' -d colours
    complete -c $program -s o -l output -r -F -d 'where the output goes'
    complete -c $program -s f -l force -d 'replace an existing output'
    complete -c $program -l json -d 'print JSON'
end

for program in tf-grow tf-eval tf-generate tf-inspect
    complete -c $program -l max-memory -x -d 'memory that may be used'
end

for program in tf-train tf-grow tf-eval tf-generate
    complete -c $program -l set -x -d 'set a key of the config'
end

for program in tf-train tf-grow tf-generate
    complete -c $program -l seed -x -d 'seed of random numbers'
end

for program in tf-train tf-grow tf-eval tf-inspect
    complete -c $program -s n -l dry-run -d 'check everything and do nothing'
end

complete -c tf-train -f
complete -c tf-train -n '__fish_is_first_token' -k -a '(__fish_complete_suffix .yaml .yml)'
complete -c tf-train -l progress -x -a 'auto always never' -d 'progress on stderr'
complete -c tf-train -s r -l resume -d 'go on from the output'
complete -c tf-train -l init -x -a '(__tf_checkpoints)' -d 'begin with the model of a checkpoint'
complete -c tf-train -l metrics -r -F -d 'write records of each step as JSON Lines'
complete -c tf-train -l max-time -x -d 'stop after this time'
complete -c tf-train -l help-config -d 'list the keys of the config'

complete -c tf-grow -f -n __tf_no_checkpoint -k -a '(__tf_checkpoints)'
complete -c tf-grow -l qkv -x -d 'tokens of q, k and v: 512, x2 or +256'
complete -c tf-grow -l proj -x -d 'tokens of the output projection'
complete -c tf-grow -l ffn -x -d 'tokens of the feed-forward part'
complete -c tf-grow -l layers -x -d 'grow these layers only: 0-3,7'
complete -c tf-grow -l add-layers -x -d 'new layers, which change nothing yet'
complete -c tf-grow -l at -x -a 'top middle spread' -d 'where new layers stand'
complete -c tf-grow -l method -x -a 'tokens net2net hyperclone' -d 'add tokens, or duplicate units'
complete -c tf-grow -l width -x -d 'hidden size of a transformer: 512, x2 or +256'
complete -c tf-grow -l noise -x -d 'noise on duplicates'
complete -c tf-grow -l keys -x -a 'zero random copy' -d 'new keys'
complete -c tf-grow -l values -x -a 'zero random copy' -d 'new values'
complete -c tf-grow -l scale -x -a 'keep count' -d 'keep the scale, or set it to the token count'
complete -c tf-grow -l verify -d 'print the largest difference of logits'

complete -c tf-eval -f -n __tf_no_checkpoint -k -a '(__tf_checkpoints)'
complete -c tf-eval -l window -x -d 'tokens of a window'
complete -c tf-eval -l stride -x -d 'tokens from window to window'
complete -c tf-eval -l second-half -d 'score the second half of disjoint windows'
complete -c tf-eval -l batch -x -d 'windows at once'
complete -c tf-eval -l fail-above -x -d 'end with 1 when a metric is above a number'
complete -c tf-eval -l compare -x -a '(__tf_checkpoints)' -d 'compare with another model'
complete -c tf-eval -l keep -x -d 'loss with the first tokens alone'
complete -c tf-eval -l weights -x -a 'f32 bf16 int8' -d 'round the weights'

complete -c tf-generate -f -n __tf_no_checkpoint -k -a '(__tf_checkpoints)'
complete -c tf-generate -l dry-run -d 'check everything and do nothing'
complete -c tf-generate -s p -l prompt -x -d 'text to continue'
complete -c tf-generate -l prompts -r -F -d 'file of prompts'
complete -c tf-generate -s n -l tokens -x -d 'tokens to write'
complete -c tf-generate -l samples -x -d 'texts for each prompt'
complete -c tf-generate -l temperature -x -d '0: the likeliest token'
complete -c tf-generate -l top-k -x -d 'draw from the k likeliest'
complete -c tf-generate -l top-p -x -d 'draw from the likeliest that together have p'
complete -c tf-generate -l weights -x -a 'f32 bf16 int8' -d 'hold the weights as this'
complete -c tf-generate -l min-p -x -d 'draw from those with this share of the likeliest'
complete -c tf-generate -l repeat-penalty -x -d 'make repetition less likely'
complete -c tf-generate -l repeat-last -x -d 'tokens that the penalty looks back'
complete -c tf-generate -l stop -x -d 'end before this text'
complete -c tf-generate -l ignore-end -d 'go on past the end of the document'
complete -c tf-generate -l echo -d 'print the prompt before its continuation'

complete -c tf-inspect -f -k -a '(__tf_checkpoints)'
complete -c tf-inspect -s l -l long -d 'tables: all columns'
complete -c tf-inspect -l diffable -d 'tables: one line each with its digest'
complete -c tf-inspect -l npy -d 'dump: write a NumPy file'
complete -c tf-inspect -l usage -r -F -d 'stats: contributions over a text'
complete -c tf-inspect -l keep -d 'slice: keep the selected tokens'
complete -c tf-inspect -l drop -d 'slice: drop the selected tokens'
complete -c tf-inspect -l keep-top -x -d 'slice: keep those used most'
complete -c tf-inspect -l by -r -F -d 'slice: the usage that stats printed'
complete -c tf-inspect -l append -d 'transplant: behind the last token'
complete -c tf-inspect -l level -x -d 'repack, pack: compression level'
for verb in 'show\tin short' 'tables\tshape and size of each table' 'config\tthe config that the model was made with' \
        'lineage\ttraining and growth so far' 'stats\tnumbers about each table' 'dump\tthe numbers of a table' \
        'verify\tcheck every byte' 'digest\tdigests of the tables and of the model' 'diff\tcompare two checkpoints' \
        'set\ta key of the config, or a scale' 'drop\tleave out the optimizer state, or tables' \
        'slice\tkeep or drop parameter tokens' 'replace\trows of a table by those of a NumPy file' \
        'append\tnew parameter tokens from NumPy files' 'transplant\trows from another checkpoint' \
        'cast\tstore tables in another type' 'repack\tcompress every table anew' 'unpack\ta folder of NumPy files' \
        'pack\ta checkpoint of such a folder' 'recover\tsave what verifies of a damaged checkpoint'
    complete -c tf-inspect -n __fish_is_first_token -a "(printf '$verb')"
end
