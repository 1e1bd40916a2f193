"""The article's model, on the table of the queue app."""
from django.db import models


class QueueItem(models.Model):
    text = models.CharField(max_length=200)

    class Meta:
        managed = False
        db_table = "queue_item"
