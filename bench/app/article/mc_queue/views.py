"""The page of the queue in the three ways that the article and its further reading name."""
from django.core.cache import cache
from django.shortcuts import render
from django.views.decorators.cache import cache_page

from .models import QueueItem


def from_database(request):
    return page(request, list(QueueItem.objects.order_by("id")))


def from_query_cache(request):
    queue = cache.get("queue")
    if queue is None:
        queue = list(QueueItem.objects.order_by("id"))
        cache.set("queue", queue)
    return page(request, queue)


@cache_page(600)
def from_page_cache(request):
    # Without a token: with one, Django keeps a page for each visitor.
    return page(request, list(QueueItem.objects.order_by("id")), with_token=False)


def page(request, queue, with_token=True):
    return render(request, "queue.html", {"queue": queue, "with_token": with_token})
