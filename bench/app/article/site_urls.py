"""Where the three pages are."""
from django.urls import path
from mc_queue import views

urlpatterns = [
    path("database", views.from_database),
    path("query", views.from_query_cache),
    path("page", views.from_page_cache),
]
