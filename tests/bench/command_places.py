"""How each command that a page or help prints is tested: run for real, planned, parsed, or why not here."""

from dataclasses import dataclass

from command import QUICK
from small_runs import one_layer


@dataclass(frozen=True)
class Run:
    """It is run for real."""

    home: str  # the fixture in whose folder
    said: str  # a part of what it prints
    more: tuple[str, ...] = ()  # words that are appended, to make it small


@dataclass(frozen=True)
class Plan:
    """Its words are parsed and every run that it names is resolved; to make them takes hours, a hub or a cluster."""

    runs: int


@dataclass(frozen=True)
class Parse:
    """Its options and arguments are read; nothing is made of them here."""

    why: str


@dataclass(frozen=True)
class Elsewhere:
    """Another test runs it."""

    test: str


@dataclass(frozen=True)
class Recipe:
    """A recipe of the justfile, with what that starts."""

    starts: str


@dataclass(frozen=True)
class Machine:
    """It changes a machine or needs a cluster, and is no command of this project."""

    why: str


INSTALLS = Machine("installs packages from an index; the extra that it names is compared with pyproject.toml")
CLUSTER = Machine("needs a Ray cluster; tests/bench/sweeps/test_ray.py starts one by the same engine")
WORKED_EXAMPLE = "tests/bench/project/test_docs.py::test_the_worked_example_"
PACKAGE_OF_THE_EXAMPLE = "tests/bench/project/test_docs.py::test_the_package_of_the_example_"
PUBLISHED_FOLDERS = "tests/bench/spec/test_peft.py::test_the_published_experiments_are_a_plan_of_seventy_one_runs"
SMALL = (*QUICK, f"model={one_layer()}")

PLACES: dict[str, Run | Plan | Parse | Elsewhere | Recipe | Machine] = {
    # what reads the committed results
    "antipasto-bench report": Run("evidence", "README.md: already up to date"),
    "antipasto-bench report --full": Run("evidence", "| pissa "),
    "antipasto-bench report --latex table.tex": Run("evidence", "table.tex: written"),
    "antipasto-bench report --csv table.csv --latex table.tex": Run("evidence", "table.csv: written"),
    "antipasto-bench report --reference benchmark/reference/FILE.csv": Run("evidence", "Published elsewhere"),
    'antipasto-bench compare lora "antipasto rotate_basis=V"': Run("evidence", "A - B  +11.5 points"),
    "antipasto-bench plan-more": Run("evidence", "undecided against lora r=16, margin 2 points"),
    "antipasto-bench plan-more --margin 2": Run("evidence", "undecided against lora r=16, margin 2 points"),
    "antipasto-bench plan-more dora,hra": Run("evidence", "dora r=16"),
    "antipasto-bench list lora seed=0 --sort -test_accuracy": Run("evidence", "nano__lora__r64__lr0.01__s300__seed0"),
    "antipasto-bench list variant=lora lr=1e-2 seed=0 --sort -test_accuracy": Run("evidence", "__r64__lr0.01__"),
    "antipasto-bench results verify": Run("evidence", "results: whole"),
    "antipasto-bench results add-kinds": Run("evidence", "kinds"),
    "antipasto-bench results rebuild": Run("trained", "0 runs brought back"),
    "antipasto-bench status": Run("evidence", ""),
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2 --dry-run": Run("evidence", "15 runs"),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml --dry-run": Run("evidence", " runs: "),
    "antipasto-bench tune lora,antipasto,hra --budget 8 --dry-run": Run("evidence", "3 arms x 8 trials: "),
    "antipasto-bench tune lora rank=4,16,64 --budget 18 --dry-run": Run("evidence", "rank=4,16,64"),
    # what reads nothing
    "antipasto-bench --version": Run("evidence", "torch"),
    "antipasto-bench variants": Run("evidence", "params 128x384"),
    "antipasto-bench variants antipasto": Run("evidence", "core(h) = R_U^T"),
    "antipasto-bench variants --preset qwen3.5-0.8b": Run("evidence", "params 1024x3584"),
    "antipasto-bench cost lora,hra rank=32 --meta --preset qwen3.5-0.8b": Run("evidence", "hra r=32"),
    "antipasto-bench cost lora,antipasto rank=32,256 --meta --preset qwen3.5-0.8b": Run("evidence", "lora r=256"),
    "antipasto-bench cost lora,antipasto --preset nano": Elsewhere(
        "tests/bench/run/test_costs.py::test_the_command_measures_where_it_is_asked"
    ),
    "antipasto-bench cache": Run("evidence", "SVDs"),
    # what trains, made small, and what reads the runs of that
    "antipasto-bench measure --all --costs": Run("trained", " ms"),  # first: of each run in a process of its own
    "antipasto-bench run antipasto rotate_basis=V --preset nano": Run("trained", "done", SMALL),
    "antipasto-bench run antipasto rotate_basis=V rank=64 --preset nano": Run("trained", "done", SMALL),
    'antipasto-bench compare lora "antipasto rotate_basis=V" --show 5': Run("trained", "A - B  "),
    "antipasto-bench show RUN_ID": Run("trained", "variant: lora"),
    "antipasto-bench show RUN_ID --card": Run("trained", "pipeline_tag: text-generation"),
    "antipasto-bench measure RUN_ID": Run("trained", " nats a token"),
    "antipasto-bench measure --all --general texts.jsonl": Run("trained", " nats a token"),
    "antipasto-bench noise RUN_ID": Run("trained", "verdicts that differ"),
    "antipasto-bench noise RUN_ID --batch-sizes 8,48": Run("trained", "8 and 48 at once"),
    "antipasto-bench noise RUN_ID --batch-sizes 8,48 --limit 96": Run("trained", "8 and 48 at once"),
    "antipasto-bench demo": Run("trained", "| base ", SMALL),
    "antipasto-bench demo steps=40 eval.limit=60 costs=false": Run(
        "trained", "| base ", ("batch_size=4", "eval.valid_limit=6", "eval.general_limit=8", SMALL[-1])
    ),
    "antipasto-bench export RUN_ID --merged DIR": Run("trained", "new"),
    "antipasto-bench reproduce RUN_ID": Run("trained", "same bits: it repeats to the last bit"),
    "antipasto-bench reproduce RUN_ID --record": Run("trained", "same bits: it repeats to the last bit"),
    "antipasto-bench export RUN_ID --peft DIR": Run("trained", "new"),
    "lm_eval run --model hf --model_args pretrained=DIR --include_path benchmark/tasks --tasks nano_metamath "
    "--batch_size 100": Run("trained", "given-answer", ("--limit", "4")),
    'antipasto-bench compare "lora model=smollm2-135m" "antipasto model=smollm2-135m"': Run("recorded", "A - B  +25.0"),
    # sweeps of hours, models of a hub, clusters
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2": Plan(15),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml": Plan(103),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml --workers 2": Plan(103),
    "antipasto-bench sweep benchmark/sweeps/smollm2.yaml": Plan(43),
    "antipasto-bench sweep benchmark/sweeps/smollm2_all_answers.yaml": Plan(7),
    "antipasto-bench sweep benchmark/sweeps/adapter_dtype_smollm2.yaml": Plan(19),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml engine=ray address=auto": Plan(103),
    "antipasto-bench sweep benchmark/sweeps/lr.yaml": Plan(39),
    "antipasto-bench sweep benchmark/sweeps/rank.yaml": Plan(99),
    "antipasto-bench sweep benchmark/sweeps/rotate_basis.yaml": Plan(48),
    "antipasto-bench sweep lora,antipasto --preset smollm2-135m eval.limit=200": Plan(2),
    "antipasto-bench run lora --preset smollm2-135m dtype=float32 eval.limit=64": Plan(1),
    "antipasto-bench sweep lora,antipasto rotate_basis=V,U seed=0,1,2 --preset qwen3.5-0.8b": Plan(9),
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U seed=0,1,2 --preset qwen3-0.6b engine=ray address=auto": (
        Plan(9)
    ),
    "antipasto-bench sweep lora,dora,antipasto adapter_dtype=float32,bfloat16": Plan(6),
    "antipasto-bench sweep lora lr_ratio=1,4,16 seed=0,1,2": Plan(9),
    "antipasto-bench sweep lora,dora seed=0,1,2 --preset peft-llama-3.2-3b": Plan(6),
    "antipasto-bench sweep lora,dora,delora,ia3,road --preset peft-llama-3.2-3b": Plan(5),
    "antipasto-bench sweep lora,dora,antipasto --preset lora-lite-qwen3.5-0.8b": Plan(3),
    "antipasto-bench sweep lora,pissa,dora --preset lora-lite-qwen3-0.6b": Plan(3),
    "antipasto-bench sweep benchmark/sweeps/adapter_dtype.yaml": Plan(19),
    "antipasto-bench run peft:vera r=64": Plan(1),
    "antipasto-bench sweep lora,peft:lora,peft:oft,peft:miss seed=0,1,2": Plan(12),
    "antipasto-bench run antipasto rotate_basis=V --preset qwen3-0.6b": Plan(1),
    "antipasto-bench run antipasto rotate_basis=V --preset qwen3.5-0.8b": Plan(1),
    "antipasto-bench run antipasto rotate_basis=V --preset smollm2-135m": Plan(1),
    "torchrun --standalone --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b": Plan(1),
    "torchrun --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b": Plan(1),
    "antipasto-bench status benchmark/sweeps/nano.yaml --watch": Plan(103),
    "antipasto-bench sweep lora,dora,pissa seed=0,1,2,3,4,5,6,7 --until decided --budget 3h": Plan(24),
    "antipasto-bench tune lora,antipasto rotate_basis=V --budget 8 --workers 2": Parse(
        "minutes; tests/bench/cli/test_tune.py tunes"
    ),
    "antipasto-bench tune lora,antipasto,hra rotate_basis=V --budget 8": Parse("minutes; see above"),
    "antipasto-bench tune lora,peft:vera,peft:oft --budget 8 --workers 3": Parse("minutes; see above"),
    "antipasto-bench tune lora rank=4,16,64 --budget 18": Parse("minutes; see above"),
    "antipasto-bench sweep outputs/tune/nano-lora-antipasto-hra.yaml": Parse(
        "a file that the command before it writes"
    ),
    # words that stand for others, and what takes minutes on a quiet machine
    "torchrun --nproc-per-node 4 -m antipasto_bench run ...": Parse("which run, the reader says"),
    "antipasto-bench sweep ...": Parse("which sweep, the reader says"),
    "antipasto-bench sweep ... engine=ray address=auto": Parse("which sweep, the reader says"),
    "antipasto-bench status ... --watch": Parse("which sweep, the reader says"),
    'antipasto-bench sweep benchmark/sweeps/my.yaml engine=ray address="$head"': Parse("a file of the reader's"),
    "antipasto-bench speed": Parse("half an hour on a quiet machine; tests/bench/speed runs the suites small"),
    "antipasto-bench speed --suite answers eval.data=PATH data.train=PATH": Parse(
        "an hour on a quiet machine; tests/bench/speed runs it small"
    ),
    "antipasto-bench speed --suite step": Parse("minutes on a quiet machine; tests/bench/speed runs it small"),
    "lm_eval run --model hf --model_args pretrained=DIR,dtype=float32 --include_path benchmark/tasks --tasks "
    "gsm8k_metamath --limit 64 --batch_size 16": Parse("GSM8K of a hub; tests/bench/run/test_smollm2.py asks lm-eval"),
    "lm_eval --include_path benchmark/tasks --tasks nano_metamath --model hf --model_args pretrained=DIR": Parse(
        "it is another form of the command above that is run"
    ),
    # the worked example, on a copy of the project with its file
    "antipasto-bench variants bounded": Elsewhere(f"{WORKED_EXAMPLE}is_in_the_catalogue_and_the_sweeps"),
    "antipasto-bench run bounded bound=0.3 basis=wanda --preset nano": Elsewhere(
        f"{WORKED_EXAMPLE}trains_gets_its_row_and_exports"
    ),
    "antipasto-bench sweep bounded,antipasto_gain lr=5e-2,1e-1 seed=0,1,2 --dry-run": Elsewhere(
        f"{WORKED_EXAMPLE}is_in_the_catalogue_and_the_sweeps"
    ),
    "antipasto-bench variants shared_lora": Elsewhere(f"{PACKAGE_OF_THE_EXAMPLE}has_the_commands_that_are_printed"),
    "antipasto-bench run shared_lora rank=2 lr=1e-2 --preset nano": Elsewhere(
        f"{PACKAGE_OF_THE_EXAMPLE}trains_gets_its_row_and_merges"
    ),
    "antipasto-bench sweep shared_lora,lora lr=1e-2,3e-2 seed=0,1,2 --dry-run": Elsewhere(
        f"{PACKAGE_OF_THE_EXAMPLE}has_the_commands_that_are_printed"
    ),
    "antipasto-bench sweep peft=../peft/method_comparison/MetaMathQA/experiments/*/*": Elsewhere(PUBLISHED_FOLDERS),
    "scripts/just test tests/antipasto -k bounded": Elsewhere(f"{WORKED_EXAMPLE}is_under_every_law"),
    # recipes
    "scripts/just demo": Recipe("antipasto-bench demo"),
    "just demo": Recipe("antipasto-bench demo"),
    "just bench-variant antipasto rotate_basis=V preset=nano": Recipe(
        "antipasto-bench run antipasto rotate_basis=V preset=nano"
    ),
    "scripts/just test": Recipe("-m pytest"),
    "scripts/just test all": Recipe("-m pytest"),
    "scripts/just test tests/antipasto -k lora": Recipe("-m pytest"),
    "scripts/just lint": Recipe("lint-imports"),
    "scripts/just lock": Recipe("scripts/lock.py"),
    # what is no command of this project
    "python3 -m venv .venv": Machine("makes an environment; scripts/just does the same"),
    "pip install -c requirements.lock -e ./src -e '.[dev]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[quant]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[fla]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[tensorboard]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[ray]'": INSTALLS,
    "pip install -e ./src -e '.[vllm]'": INSTALLS,
    "pip install .": Machine("is named because it ends in an error"),
    "pip install pre-commit": INSTALLS,
    "pre-commit install": Machine(
        "changes the hooks of a checkout; tests/bench/project/test_contributing.py reads them"
    ),
    "export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu": Machine("sets a variable of the reader's shell"),
    "export RAY_AUTH_MODE=token": Machine("sets a variable of the reader's shell"),
    "git clone URL antipasto-bench": Machine("which URL, the reader says"),
    "cd antipasto-bench": Machine("the reader's shell"),
    "ray get-auth-token --generate": CLUSTER,
    "ray start": CLUSTER,
    "export RAY_TMPDIR=/tmp": Machine("sets a variable of the shell in front of `ray start`"),
    "ray start --head --port=6379": CLUSTER,
    "ray start --address=head:6379": CLUSTER,
    "ray status": CLUSTER,
    "ray stop": CLUSTER,
    "ray symmetric-run": CLUSTER,
    "accelerate launch": Machine("needs several GPUs"),
    "sbatch sweep.sbatch": Machine("needs SLURM; the script is read by bash below"),
}
