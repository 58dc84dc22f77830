"""A sample of the campaign, which takes half an hour: `python -m tests.campaign`."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.campaign import Campaign, is_same, results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs the processes and signals of Unix'),
]


@pytest.fixture(scope='module')
def campaign(trained, fork_server, tmp_path_factory):
    campaign = Campaign(tmp_path_factory.mktemp('campaign'), seed=0, server=fork_server)
    campaign.prepare(trained.data, trained.run, trained.cache)
    return campaign


@pytest.mark.parametrize(
    ('kind', 'verb'),
    [
        ('full_disk', 'predict'),
        ('two_at_once', 'predict'),
        ('odd_clock', 'predict'),
        ('terminate', 'heatmap'),
    ],
)
def test_nothing_is_lost(campaign, kind, verb):
    assert campaign.one(verb, getattr(campaign, kind)).lost == ''


def test_the_table_counts_trials_and_losses(campaign):
    before = len(campaign.trials)
    campaign.one('predict', lambda verb: 'a row')
    assert campaign.table().splitlines()[-1] == f'| **all** | | **{before + 1}** | **1** |'


def test_results_leave_out_times_and_temporary_files(tmp_path):
    (tmp_path / 'map.json').write_text('{"mean": 1, "seconds": 2}')
    (tmp_path / '.scores.csv.1.partial').write_text('')
    first = results(tmp_path)
    (tmp_path / 'map.json').write_text('{"mean": 1, "seconds": 3}')
    assert results(tmp_path) == first
    assert list(first) == ['map.json']
    (tmp_path / 'map.json').write_text('{"mean": 2, "seconds": 3}')
    assert results(tmp_path) != first


def test_tables_may_differ_in_the_last_digits_of_numbers_alone():
    table = 'part,value\nall,0.6008376939\n'
    assert is_same(table, table.replace('0.6008376939', '0.6008386127'))
    assert not is_same(table, table.replace('0.6008376939', '0.60094'))
    assert not is_same(table, table.replace('all', 'some'))
    assert not is_same(table, 'part,value\n')
    assert not is_same(table, None)
    assert not is_same('a1', 'b2')
