# Completion for bash, and for zsh behind `autoload -U bashcompinit && bashcompinit`. The words come from the programs'
# own option tables (--help=completion), so that they are always those of the installed version.
_ds4() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} table
    table=$("$1" --help=completion 2>/dev/null) || return 0
    # An option that takes a value: let the shell complete file names.
    if grep -qxF -- "$before=" <<<"$table"; then return 0; fi
    mapfile -t COMPREPLY < <(compgen -W "${table//=/}" -- "$word")
}
complete -o default -F _ds4 ds4 ds4-server ds4-gguf ds4-bench ds4-steer ds4-kv
