"""The benchmark of a fine-tuning step runs, on a network that fits a test."""

import pytest

from benchmarks.denoiser_step import Options, fresh_unet, main
from sds_guidance.finetune.jobs import suit_processor
from utils.errors import UserError


def test_every_way_is_timed_once(capsys):
    main(Options(side=4, channels=(32, 64), batch=1, repeats=1))
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")][
        2:
    ]
    ways = {tuple(cell.strip() for cell in row[:3]) for row in rows}
    assert len(rows) == len(ways) == 8 and all(float(row[3]) > 0 for row in rows)
    assert float(rows[0][4]) == 1


def test_the_small_priors_network_is_one_that_fine_tuning_gives_plain_attention():
    unet = fresh_unet(Options())
    suit_processor(unet)
    assert {type(it).__name__ for it in unet.attn_processors.values()} == {"AttnProcessor"}


@pytest.mark.parametrize("flags", [{"side": 5}, {"channels": (32,)}, {"batch": 0}, {"repeats": 0}])
def test_sizes_that_no_network_has_are_refused(flags):
    with pytest.raises(UserError, match=f"--{next(iter(flags))}"):
        main(Options(**flags))
