// Score every VCF that fits a pattern, and export the scores as VCF.
//
//     nextflow run docs/workflows/main.nf --vcfs 'cohorts/*.vcf.gz' --model enformer.safetensors --fasta hg38.fa
//
// The run lies in params.runs, outside of the task's own folder, so that a task that is tried again goes on.

params.vcfs   = 'cohorts/*.vcf.gz'
params.model  = 'enformer.safetensors'
params.fasta  = 'hg38.fa'
params.tracks = 'CAGE:*K562*'
params.runs   = 'runs'
params.scores = 'scores'

process SCORE {
    tag "${name}"
    cpus 4
    maxForks 1
    errorStrategy 'retry'
    maxRetries 2
    publishDir params.scores, mode: 'copy'

    input:
    tuple val(name), path(vcf)
    val model
    val fasta
    val runs

    output:
    path "${name}.scores.vcf.gz*"

    script:
    """
    cisray score variants --model '${model}' --fasta '${fasta}' --vcf '${vcf}' \\
        --out '${runs}/${name}' --tracks '${params.tracks}' --stats SAD,SADR \\
        --workers 0 --threads ${task.cpus} --quiet
    cisray runs export '${runs}/${name}' --format vcf --out '${name}.scores.vcf.gz' \\
        --stats SAD --fasta '${fasta}' --overwrite
    """
}

workflow {
    vcfs = Channel.fromPath(params.vcfs).map { path -> tuple(path.name - '.vcf.gz', path) }
    SCORE(vcfs, file(params.model).toAbsolutePath(), file(params.fasta).toAbsolutePath(),
          file(params.runs).toAbsolutePath())
}
