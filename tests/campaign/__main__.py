"""The command of the campaign, see `tests.campaign`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.campaign import COMMANDS, KINDS, Campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.campaign', description=__doc__)
    parser.add_argument('--minutes', type=float, default=30, help='how long new trials start')
    parser.add_argument('--rounds', type=int, help='end after so many rounds; one has three kills a command')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--verbs', nargs='*', default=list(COMMANDS), help=', '.join(COMMANDS))
    parser.add_argument('--kinds', nargs='*', default=[], choices=KINDS, help='of disturbances; default: all')
    parser.add_argument('--out', type=Path, help='write the table to this file')
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='campaign-'))
    campaign = Campaign(folder, options.seed, tuple(options.verbs))
    campaign.only = tuple(options.kinds)
    campaign.out = options.out
    try:
        campaign.prepare()
        campaign.run(60 * options.minutes, options.rounds)
    finally:
        campaign.close()
        print(campaign.table())
    lost = [trial for trial in campaign.trials if trial.lost]
    if lost:
        print(f'the folders of trials that lost something are in {folder}')
    return int(bool(lost))


if __name__ == '__main__':
    sys.exit(main())
