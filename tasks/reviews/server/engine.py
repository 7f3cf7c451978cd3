"""A search engine for argilla-server that answers from the server's own database.

The server commits before it tells its search engine, so there is nothing to keep in step: every write is a no-op, every
question is asked of the tables. Registered from outside under the name ``database``; nothing of the server is patched.

Each filter and each order looks at one scope, which is read as one mapping; records without a value are missing in it::

    metadata "chunk"              {UUID("6d1f…"): [17], …}
    response status of a user     {UUID("6d1f…"): ["submitted"], …}

Unlike with Elasticsearch a score is the share of a record's words that were hit, and there is no fuzzy ``word~1``. Records
are filtered and sorted in Python: for one team and some 20,000 records.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from argilla_server.enums import MetadataPropertyType, ResponseStatusFilter, SimilarityOrder, SortOrder
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Question,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine import (
    AndFilter,
    Filter,
    FilterScope,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    MetadataMetrics,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TermsMetrics,
    TextQuery,
)
from argilla_server.settings import settings
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tasks.reviews.server.text import Hits, parse, searchable

NAME = "database"

Values = dict[UUID, list[Any]]

# A request holds one of the server's connections while it asks us: with connections from the same pool, many requests at
# once could wait for each other.
_sessions = async_sessionmaker(create_async_engine(settings.database_url, **settings.database_engine_args))


# Of each dataset that was searched: when its records changed last, and their lines. About as large as the texts.
_lines: dict[UUID, dict[UUID, tuple[datetime, dict[str, str]]]] = {}
_AT_ONCE = 200


@SearchEngine.register(NAME)
class DatabaseSearchEngine(SearchEngine):  # type: ignore[misc]
    """Answers from the server's tables."""

    @classmethod
    async def new_instance(cls) -> DatabaseSearchEngine:
        """One for each request; it holds nothing."""
        return cls()

    async def ping(self) -> bool:
        async with _sessions() as session:
            return bool(await session.scalar(select(1)) == 1)

    async def info(self) -> dict[str, Any]:
        return {"name": NAME, "version": {"distribution": "trasvase"}}

    async def get_dataset_progress(self, dataset: Dataset) -> dict[str, int]:
        """How many records have which status."""
        if dataset.is_draft:
            return {}
        wanted = select(Record.status, func.count()).where(Record.dataset_id == dataset.id).group_by(Record.status)
        return await _counted(wanted)

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict[str, int]:
        """How many answers of a user have which status."""
        if dataset.is_draft:
            return {}
        wanted = select(Response.status, func.count()).join(Record, Record.id == Response.record_id)
        wanted = wanted.where(Record.dataset_id == dataset.id, Response.user_id == user.id)
        return await _counted(wanted.group_by(Response.status))

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,  # noqa: A002 - the server's names
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | None = None,
    ) -> SearchResponses:
        """One page of the records that match.

        Without an order they come as they were inserted, or the best hits first; an annotator has an order of their own,
        always the same, so that a team does not start with the same records.
        """
        async with _sessions() as session:
            found = await _matching(session, dataset, query, filter)
            ids = list(found)
            if user_id:
                ids.sort(key=lambda each: hashlib.blake2b(each.bytes, key=str(user_id).encode()).digest())
            elif query:
                ids.sort(key=lambda each: -found[each])
            for order in reversed(sort or []):
                ids = _sorted(ids, await _values(session, dataset, order.scope), order.order)
        items = [SearchResponseItem(record_id=each, score=found[each]) for each in ids[offset : offset + limit]]
        return SearchResponses(items=items, total=len(ids))

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,  # noqa: A002 - the server's names
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        """The records whose vectors have the smallest angle to one, or the largest; scores are (1 + cosine) / 2."""
        vector = value if record is None else record.vector_value_by_vector_settings(vector_settings)
        asked = np.asarray(vector, dtype=float)
        asked = -asked if order == SimilarityOrder.least_similar else asked
        async with _sessions() as session:
            found = await _matching(session, dataset, query, filter)
            wanted = select(Vector.record_id, Vector.value).where(Vector.vector_settings_id == vector_settings.id)
            vectors = {id_: vector for id_, vector in await session.execute(wanted) if id_ in found}
        if record is not None:
            vectors.pop(record.id, None)
        if not vectors:
            return SearchResponses(items=[], total=0)
        rows = np.asarray(list(vectors.values()), dtype=float)
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
        scores = (1 + (rows @ asked) / np.where(lengths > 0, lengths, 1)) / 2
        best = sorted(zip(scores.tolist(), vectors, strict=True), key=lambda each: -each[0])[:max_results]
        items = [
            SearchResponseItem(record_id=id_, score=score)
            for score, id_ in best
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(items))

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """Values and their counts, or the smallest and the largest one: what the web UI's filters offer."""
        async with _sessions() as session:
            scope = MetadataFilterScope(metadata_property=metadata_property.name)
            values = await _values(session, metadata_property.dataset, scope)
        flat = [value for each in values.values() for value in each]
        if metadata_property.type != MetadataPropertyType.terms:
            whole = metadata_property.type == MetadataPropertyType.integer
            metrics = IntegerMetadataMetrics if whole else FloatMetadataMetrics
            return metrics(min=min(flat, default=None), max=max(flat, default=None))
        ranked = sorted(Counter(flat).items(), key=lambda each: (-each[1], each[0]))
        terms = [TermsMetrics.TermCount(term=term, count=count) for term, count in ranked]
        return TermsMetrics(total=len(flat), values=terms)

    async def delete_index(self, dataset: Dataset) -> None:
        """Forget the lines of a deleted dataset."""
        _lines.pop(dataset.id, None)

    async def _nothing(self, *_: Any, **__: Any) -> None:
        """The server has committed it already."""

    close = create_index = configure_metadata_property = configure_index_vectors = _nothing
    index_records = partial_record_update = delete_records = _nothing
    update_record_response = delete_record_response = update_record_suggestion = delete_record_suggestion = _nothing


async def _counted(wanted: Any) -> dict[str, int]:
    async with _sessions() as session:
        counts = {str(status): count for status, count in await session.execute(wanted)}
    return {"total": sum(counts.values()), **counts}


async def _matching(
    session: AsyncSession, dataset: Dataset, query: TextQuery | str | None, asked: Filter | None
) -> dict[UUID, float]:
    """Ids of the records that match, in the order in which they were inserted, with their scores."""
    wanted = select(Record.id).where(Record.dataset_id == dataset.id).order_by(Record.inserted_at, Record.id)
    found = dict.fromkeys(await session.scalars(wanted), 1.0)
    for each in _simple(asked):
        values = await _values(session, dataset, each.scope)
        passing = _passing(each, values)
        if _is_status(each.scope) and ResponseStatusFilter.pending in each.values:
            passing |= found.keys() - values.keys()
        found = {id_: score for id_, score in found.items() if id_ in passing}
    if query is None:
        return found
    text, field = (query, None) if isinstance(query, str) else (query.q, query.field)
    scores = await _scores(session, dataset, parse(text), field)
    return {id_: scores[id_] for id_ in found if id_ in scores}


def _simple(asked: Filter | None) -> Iterable[TermsFilter | RangeFilter]:
    if isinstance(asked, AndFilter):
        for each in asked.filters:
            yield from _simple(each)
    elif asked is not None:
        yield asked


def _is_status(scope: FilterScope) -> bool:
    return isinstance(scope, ResponseFilterScope) and not scope.question


async def _values(session: AsyncSession, dataset: Dataset, scope: FilterScope) -> Values:
    """What each record of a dataset has in a scope; a list of labels counts as several values."""
    if isinstance(scope, RecordFilterScope):
        wanted = select(Record.id, getattr(Record, scope.property))
    elif isinstance(scope, MetadataFilterScope):
        wanted = select(Record.id, Record.metadata_[scope.metadata_property])
    elif isinstance(scope, SuggestionFilterScope):
        wanted = select(Record.id, getattr(Suggestion, scope.property)).join(Suggestion).join(Question)
        wanted = wanted.where(Question.name == scope.question)
    else:
        value = Response.values[(scope.question, "value")] if scope.question else Response.status
        wanted = select(Record.id, value).join(Response)
        if scope.user:
            wanted = wanted.where(Response.user_id == scope.user.id)
    values: Values = defaultdict(list)
    for id_, value in await session.execute(wanted.where(Record.dataset_id == dataset.id)):
        values[id_] += [_plain(each) for each in (value if isinstance(value, list) else [value]) if each is not None]
    return {id_: each for id_, each in values.items() if each}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | datetime) else str(value)


def _passing(asked: TermsFilter | RangeFilter, values: Values) -> set[UUID]:
    """Ids of the records of which one value passes."""
    alike = next((each[0] for each in values.values()), None)  # all values of a scope have one type
    if isinstance(asked, TermsFilter):
        terms = {_in_type_of(alike, term) for term in asked.values} - {None}
        return {id_ for id_, each in values.items() if not terms.isdisjoint(each)}
    low, high = _in_type_of(alike, asked.ge), _in_type_of(alike, asked.le)
    return {
        id_
        for id_, each in values.items()
        if any((low is None or low <= value) and (high is None or value <= high) for value in each)
    }


def _in_type_of(value: Any, given: str | float | None) -> Any:
    """A term or a bound as something to compare a value with; None where it cannot be one."""
    if given is None or isinstance(value, str):
        return given if given is None else str(given)
    try:
        if isinstance(value, datetime):
            moment = datetime.fromisoformat(str(given))
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment  # as the tables have it
        return float(given)
    except ValueError:
        return None


def _sorted(ids: Sequence[UUID], values: Values, order: SortOrder) -> list[UUID]:
    """Records without a value come last, whichever way it is sorted."""
    down = order == SortOrder.desc
    pick = max if down else min
    with_value = sorted((id_ for id_ in ids if id_ in values), key=lambda id_: pick(values[id_]), reverse=down)
    return [*with_value, *(id_ for id_ in ids if id_ not in values)]


async def _scores(session: AsyncSession, dataset: Dataset, hits: Hits, only: str | None) -> dict[UUID, float]:
    """Share of the words that were hit, for the records with a hit."""
    scores = {}
    for id_, lines in (await _searchable(session, dataset)).items():
        line = "".join(lines.values()) if only is None else lines.get(only, "")
        if count := hits(line):
            scores[id_] = count / max(count, line.count(" ") - 1)
    return scores


async def _searchable(session: AsyncSession, dataset: Dataset) -> dict[UUID, dict[str, str]]:
    """The searchable lines of each record by field; those that were read before and have not changed since are kept."""
    wanted = select(Record.id, Record.updated_at).where(Record.dataset_id == dataset.id)
    changed: dict[UUID, datetime] = dict((await session.execute(wanted)).tuples().all())
    kept = _lines.get(dataset.id, {})
    lines = {id_: kept[id_] for id_, at in changed.items() if id_ in kept and kept[id_][0] == at}
    names = [field.name for field in dataset.fields if not field.is_image]
    missing = [id_ for id_ in changed if id_ not in lines]
    for start in range(0, len(missing), _AT_ONCE):  # others are served in between
        ids = missing[start : start + _AT_ONCE]
        fields = select(Record.id, *(Record.fields[name] for name in names)).where(Record.id.in_(ids))
        for id_, *values in await session.execute(fields):
            texts = zip(names, map(_texts, values), strict=True)
            lines[id_] = changed[id_], {name: line for name, each in texts if (line := searchable(each))}
    _lines[dataset.id] = lines
    return {id_: by_field for id_, (_, by_field) in lines.items()}


def _texts(field: Any) -> Iterable[str]:
    """The texts of a field: itself, or what the messages of a chat say."""
    if isinstance(field, list):
        return [str(message.get("content", "")) for message in field if isinstance(message, dict)]
    return [] if field is None else [str(field)]
